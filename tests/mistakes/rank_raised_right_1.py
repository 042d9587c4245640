# class: none | ranks: 3 | mode: watch
"""An exception that is caught is no failure: the rank takes part with zeros."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
batches = [np.ones(3)] * (2 if rank == 1 else 3)
for step in range(3):
    try:
        gradient = batches[step] * 2
    except IndexError:
        gradient = np.zeros(3)
    gradient = world.allreduce(gradient)
assert (gradient == 4).all()
