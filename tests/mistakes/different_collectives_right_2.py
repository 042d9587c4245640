# class: none | ranks: 3 | mode: watch
"""Only rank 0 shall have the sum: all call reduce."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
gradient = np.arange(4.0)
total = world.reduce(gradient, root=0)
if rank == 0:
    assert (total == 3 * gradient).all()
else:
    assert total is None
