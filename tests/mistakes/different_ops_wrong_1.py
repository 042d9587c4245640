# class: different ops | ranks: 3 | fault: 1@12 | mode: watch
"""Data-parallel step: rank 1 adds up gradients of which the others take the mean."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
gradient = np.full(5, rank + 1.0)
op = "sum" if rank == 1 else "mean"
gradient = world.allreduce(gradient, op=op)
