# class: none | ranks: 4 | mode: watch
"""Parameter broadcast in several dtypes, the same on all ranks."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
for dtype in (np.float32, np.int64, np.bool_, np.float16):
    weights = np.full(3, rank == 0, dtype)
    world.bcast(weights, root=0)
    assert weights.all()
