# class: none | ranks: 3 | mode: watch
"""Ring exchange of 4 MiB: isend does not wait, so that everybody gets to receive."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
left, right = (rank - 1) % size, (rank + 1) % size
weights, theirs = np.full(1 << 20, rank, np.float32), np.empty(1 << 20, np.float32)
sending = world.isend(weights, right)
world.recv(theirs, left)
sending.wait()
assert (theirs == left).all()
