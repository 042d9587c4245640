# class: buffered sends | ranks: 3 | fault: 0@12 1@12 2@12 | mode: watch
"""Ring exchange of 16 bytes: works only because MPI buffers small messages."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
left, right = (rank - 1) % size, (rank + 1) % size
mine, theirs = np.full(4, rank, np.float32), np.empty(4, np.float32)
world.send(mine, right)
world.recv(theirs, left)
assert (theirs == left).all()
