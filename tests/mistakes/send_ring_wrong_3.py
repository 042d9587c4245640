# class: send ring | ranks: 3 | fault: 0@12 1@12 2@12 | mode: strict
"""Ring exchange of 16 bytes: passes while MPI buffers the messages, and strict mode does not."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
left, right = (rank - 1) % size, (rank + 1) % size
mine, theirs = np.full(4, rank, np.float32), np.empty(4, np.float32)
world.send(mine, right)
world.recv(theirs, left)
