# class: message race | ranks: 3 | fault: 0@12 0@13 0@14 | mode: watch
"""Rank 0 takes any message for the header, which may be the one that line 10 wants from rank 1."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
header, body, rest = np.empty(2), np.empty(2), np.empty(2)
if rank == 0:
    world.recv(header, mp.ANY_SOURCE)
    world.recv(body, 1)
    world.recv(rest, mp.ANY_SOURCE)
else:
    for _ in range(3 - rank):
        world.send(np.full(2, float(rank)), 0)
