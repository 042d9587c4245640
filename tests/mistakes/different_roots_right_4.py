# class: none | ranks: 4 | mode: watch
"""Rows of a mesh go their own ways: each has its root, its dtype, its size, its op."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
row = world.split(rank // 2)
mine = np.full(3, rank) if rank < 2 else np.full(5, rank + 0.5)
row.bcast(mine, root=rank // 2)
total = row.allreduce(mine, op="sum" if rank < 2 else "max")
if rank >= 2:
    row.barrier()
assert (total == (0 if rank < 2 else 3.5)).all()
