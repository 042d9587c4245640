# class: receive cycle | ranks: 3 | fault: 0@12 1@12 2@12 | mode: watch
"""Ring exchange: everybody receives before anybody has sent."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
left, right = (rank - 1) % size, (rank + 1) % size
mine, theirs = np.full(4, rank, np.float32), np.empty(4, np.float32)
world.recv(theirs, left, tag=1)
world.send(mine, right, tag=1)
print(rank, theirs)
