# class: none | ranks: 4 | mode: watch
"""Pipeline: activations go down and gradients up, each under its tag."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
FORWARD, BACKWARD = 1, 2
x, dx = np.ones(5), np.ones(5)
if rank > 0:
    world.recv(x, rank - 1, tag=FORWARD)
if rank + 1 < size:
    world.send(2 * x, rank + 1, tag=FORWARD)
    world.recv(dx, rank + 1, tag=BACKWARD)
if rank > 0:
    world.send(2 * dx, rank - 1, tag=BACKWARD)
assert x[0] == 2**rank and dx[0] == 2 ** (size - 1 - rank)
