# class: none | ranks: 3 | mode: watch
"""A rank without data adds zeros of the same dtype."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
gradient = np.ones(6, np.float32) if rank < 2 else np.zeros(6, np.float32)
gradient = world.allreduce(gradient)
assert gradient.dtype == np.float32 and (gradient == 2).all()
