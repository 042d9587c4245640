# class: send ring | ranks: 3 | fault: 1@12 2@14 | mode: watch
"""Halo exchange of long rows on a line: 1 and 2 send to each other, and 0 waits for 1."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
grid = np.full((4, 200_000), float(rank))
if rank + 1 < size:
    world.send(grid[-2], rank + 1)
if rank > 0:
    world.send(grid[1], rank - 1)
    world.recv(grid[0], rank - 1)
if rank + 1 < size:
    world.recv(grid[-1], rank + 1)
