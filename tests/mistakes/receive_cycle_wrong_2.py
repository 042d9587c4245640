# class: receive cycle | ranks: 3 | fault: 1@12 2@14 | mode: watch
"""Halo exchange on a line: 1 and 2 wait for each other's edge, and 0 waits for 1."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
u = np.full(6, float(rank))  # u[0] and u[-1] belong to the neighbours
if rank + 1 < size:
    world.recv(u[-1:], rank + 1)
if rank > 0:
    world.recv(u[:1], rank - 1)
    world.send(u[1:2], rank - 1)
if rank + 1 < size:
    world.send(u[-2:-1], rank + 1)
