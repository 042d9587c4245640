# class: none | ranks: 3 | mode: watch
"""The last of three ranks is number 2; scatter, compute and gather there."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
work = np.arange(6.0) if rank == 2 else None
mine = world.scatter(work, root=size - 1)
squares = world.gather(mine**2, root=size - 1)
assert (squares is None) == (rank != 2)
if rank == 2:
    assert (squares == work**2).all()
