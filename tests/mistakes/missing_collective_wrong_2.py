# class: missing collective | ranks: 3 | fault: 1@12 | mode: watch
"""Rank 1 waits for a report that rank 0 sends only after the barrier."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
report = np.zeros(2)
if rank == 1:
    world.recv(report, 0)
world.barrier()
if rank == 0:
    world.send(report, 1)
