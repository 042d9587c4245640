# class: buffered sends | ranks: 2 | fault: 0@12 1@15 | mode: watch
"""Two ranks swap their parameters, and both send first."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
mine, theirs = np.full(10, rank + 0.5), np.empty(10)
if rank == 0:
    world.send(mine, 1, tag=3)
    world.recv(theirs, 1, tag=3)
else:
    world.send(mine, 0, tag=3)
    world.recv(theirs, 0, tag=3)
average = (mine + theirs) / 2
