# class: none | ranks: 3 | mode: watch
"""Halo exchange of long rows on a line: one sendrecv a neighbour."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
grid = np.full((4, 200_000), float(rank))
if rank + 1 < size:
    world.sendrecv(grid[-2], rank + 1, rank + 1, out=grid[-1])
if rank > 0:
    world.sendrecv(grid[1], rank - 1, rank - 1, out=grid[0])
assert grid[-1, 0] == min(rank + 1, size - 1) and grid[0, 0] == max(rank - 1, 0)
