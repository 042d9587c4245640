# class: none | ranks: 3 | mode: watch
"""The tag is the sender's number; the receiver takes any tag."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
if rank < 2:
    world.send(np.full(2, rank), 2, tag=rank)
else:
    for source in (1, 0):
        x = world.recv(np.empty(2, np.int64), source, mp.ANY_TAG)
        assert (x == source).all()
