# class: none | ranks: 4 | mode: watch
"""A mesh of rows and columns: collectives on both, in an order of its own on each."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
row, column = world.split(rank // 2), world.split(rank % 2)
x = np.full(3, float(rank))
if row.rank == 0:
    row.send(x, 1, tag=1)
else:
    y = row.recv(np.empty(3), 0, tag=1)
    assert (y == rank - 1).all()
along = row.allreduce(x)
down = column.allreduce(x)
world.barrier()
assert (column.allreduce(along) == 6).all() and (row.allreduce(down) == 6).all()
