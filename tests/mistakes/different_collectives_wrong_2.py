# class: different collectives | ranks: 3 | fault: 0@12 | mode: watch
"""Only rank 0 shall have the sum: it calls reduce, and the others call allreduce."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
gradient = np.arange(4.0)
if rank == 0:
    total = world.reduce(gradient, root=0)
else:
    total = world.allreduce(gradient)
