# class: invalid argument | ranks: 2 | fault: 1@12 | mode: watch
"""An array of Python objects holds addresses, which mean nothing on another rank."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
metrics = np.array([{"loss": 0.5}, None])
if rank == 1:
    world.send(metrics, 0, tag=4)
else:
    world.recv(np.empty(2), 1, tag=4)
