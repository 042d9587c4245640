# class: buffer changed | ranks: 2 | fault: 0@12 0@14 | mode: watch
"""The weights are updated while they are still being sent."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
weights = np.ones(6)
if rank == 0:
    request = world.isend(weights, 1)
    weights -= 0.1 * weights
    request.wait()
else:
    print(world.recv(weights, 0))
