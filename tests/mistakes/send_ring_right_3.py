# class: none | ranks: 3 | mode: strict
"""Ring exchange in strict mode: even ranks send first, odd ranks receive first."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
left, right = (rank - 1) % size, (rank + 1) % size
mine, theirs = np.full(4, rank, np.float32), np.empty(4, np.float32)
for _ in range(5):
    if rank % 2 == 0:
        world.send(mine, right)
        world.recv(theirs, left)
    else:
        world.recv(theirs, left)
        world.send(mine, right)
assert (theirs == left).all()
