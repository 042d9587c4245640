# class: none | ranks: 3 | mode: watch
"""Rank 1 uses much memory for a moment and gives it back."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
world.barrier()
if rank == 1:
    assert np.ones(1 << 22).sum() == 1 << 22
total = world.allreduce(np.ones(1000))
assert (total == 3).all()
