# class: none | ranks: 4 | mode: strict
"""Validation: all ranks sum their errors, then rank 2 waits for the next batch."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
errors, batch = np.array([rank]), np.empty(3)
errors = world.allreduce(errors)
if rank == 0:
    world.send(np.ones(3), 2, tag=1)
if rank == 2:
    world.recv(batch, 0, tag=1)
assert errors[0] == 6
