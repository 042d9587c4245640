# class: different ops | ranks: 4 | fault: 3@11 | mode: watch
"""The range of the data: rank 3 asks for the smallest where all ask for the largest."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
values = np.array([1.0, 7.0]) * rank
largest = world.reduce(values, op="min" if rank == 3 else "max", root=0)
