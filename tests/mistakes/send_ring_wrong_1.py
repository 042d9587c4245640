# class: send ring | ranks: 3 | fault: 0@12 1@12 2@12 | mode: watch
"""Ring exchange of 4 MiB: everybody sends, and nobody is left to receive."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
left, right = (rank - 1) % size, (rank + 1) % size
weights, theirs = np.full(1 << 20, rank, np.float32), np.empty(1 << 20, np.float32)
world.send(weights, right)
world.recv(theirs, left)
print(rank, theirs[0])
