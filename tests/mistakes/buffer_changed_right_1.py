# class: none | ranks: 2 | mode: watch
"""The weights are updated into a new array while the old ones are being sent."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
weights = np.ones(6)
if rank == 0:
    request = world.isend(weights, 1)
    updated = weights - 0.1 * weights
    request.wait()
    weights[:] = updated
else:
    assert (world.recv(np.empty(6), 0) == 1).all()
