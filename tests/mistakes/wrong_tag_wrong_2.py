# class: wrong tag | ranks: 4 | fault: any 2@14 1@16 | mode: watch
"""Pipeline: stage 2 waits for its activation under the tag of gradients."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
FORWARD, BACKWARD = 1, 2
x = np.ones(5)
if rank > 0:
    tag = BACKWARD if rank == 2 else FORWARD
    world.recv(x, rank - 1, tag=tag)
if rank + 1 < size:
    world.send(2 * x, rank + 1, tag=FORWARD)
