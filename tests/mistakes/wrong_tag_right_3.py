# class: none | ranks: 2 | mode: watch
"""A message to oneself, one without content, and several received in order under any tag."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
mine = np.full(2, rank)
request = world.isend(mine, rank, tag=5)
assert (world.recv(np.empty(2, np.int64), rank, tag=5) == rank).all()
request.wait()
if rank == 0:
    for tag in (9, 4, 0):
        world.send(np.array([tag]), 1, tag=tag)
    world.send(np.empty(0), 1, tag=3)
else:
    seen = [int(world.recv(np.empty(1, np.int64), 0, mp.ANY_TAG)[0]) for _ in range(3)]
    world.recv(np.empty(0), 0, tag=3)
    assert seen == [9, 4, 0]
