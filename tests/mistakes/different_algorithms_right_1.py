# class: none | ranks: 3 | mode: watch
"""The algorithm follows from the number of elements, which is the same on all ranks."""

import numpy as np

import mpipar as mp

world = mp.world()
for n in (3, 3000):
    x = np.ones(n)
    x = world.allreduce(x, algorithm="ring" if n > 100 else "naive")
    assert (x == 3).all()
