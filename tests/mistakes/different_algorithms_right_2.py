# class: none | ranks: 4 | mode: watch
"""Each broadcast has an algorithm of its own, the same on all ranks."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
for algorithm in ("binomial", "linear", "auto"):
    weights = np.full(8, float(rank))
    world.bcast(weights, root=2, algorithm=algorithm)
    assert (weights == 2).all()
