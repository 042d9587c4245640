# class: none | ranks: 2 | mode: strict
"""Halo exchange on the pair."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
pair = world.split(0)
edge = np.full(6, float(rank))
if pair.rank == 0:
    pair.send(edge, 1)
else:
    assert (pair.recv(edge, 0) == 0).all()
