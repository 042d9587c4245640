# class: none | ranks: 2 | mode: watch
"""A number travels as an array of one element, or of none."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
if rank == 0:
    world.send(np.array([0.75]), 1)
    world.send(np.array(0.5), 1)
else:
    assert world.recv(np.empty(1), 0)[0] == 0.75
    assert world.recv(np.empty(()), 0) == 0.5
