# class: different algorithms | ranks: 3 | fault: 0@12 | mode: watch
"""Rank 0 takes the ring where the others go through rank 0."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
x = np.arange(12.0)
algorithm = "ring" if rank == 0 else "naive"
x = world.allreduce(x, algorithm=algorithm)
