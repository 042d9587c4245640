# class: missing collective | ranks: 4 | fault: 2@12 | mode: strict
"""Validation: ranks 0, 1 and 3 sum their errors, and rank 2 waits for the next batch."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
errors, batch = np.array([rank]), np.empty(3)
if rank == 2:
    world.recv(batch, 0, tag=1)
errors = world.allreduce(errors)
if rank == 0:
    world.send(np.ones(3), 2, tag=1)
