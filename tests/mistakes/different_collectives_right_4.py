# class: none | ranks: 2 | mode: watch
"""Two communicators of the same ranks: on each the order is the same."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
tensor, data = world.split(0), world.split(0)
x = np.full(2, rank + 1.0)
for comm in (tensor, data, tensor, world, data):
    x = comm.allreduce(x)
    comm.bcast(x, root=1)
assert (x == 3 * 2**4).all()
