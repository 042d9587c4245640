# class: none | ranks: 4 | mode: watch
"""Ten rows on four ranks: blocks that differ by a row are gathered and scattered."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
block = np.array_split(np.arange(20.0).reshape(10, 2), size)[rank]
whole = world.gather(block, root=1, rows=10)
mine = world.scatter(whole, root=1)
assert (mine == block).all()
shares = world.alltoall(np.full((size, 1), rank))
assert shares[:, 0].tolist() == [0, 1, 2, 3]
assert world.reduce_scatter(np.ones(10))[0] == 4
