# class: none | ranks: 3 | mode: watch
"""Halo exchange on a line: even ranks send first, odd ranks receive first."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
u = np.full(6, float(rank))  # u[0] and u[-1] belong to the neighbours
edges = [(u[-2:-1], u[-1:], rank + 1), (u[1:2], u[:1], rank - 1)]
for mine, theirs, peer in edges:
    if not 0 <= peer < size:
        continue
    if rank % 2 == 0:
        world.send(mine, peer)
        world.recv(theirs, peer)
    else:
        world.recv(theirs, peer)
        world.send(mine, peer)
assert u[-1] == min(rank + 1, size - 1) and u[0] == max(rank - 1, 0)
