# class: different dtypes | ranks: 3 | fault: 2@11 | mode: watch
"""A rank without data adds zeros, but numpy's zeros are float64."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
gradient = np.ones(6, np.float32) if rank < 2 else np.zeros(6)
gradient = world.allreduce(gradient)
