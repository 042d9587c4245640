# class: none | ranks: 2 | mode: watch
"""Rank 1 answers before it leaves."""

import sys

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
loss = np.array([np.nan if rank == 0 else 0.5])
if rank == 0:
    world.send(loss, 1)
    world.recv(loss, 1)
    assert np.isnan(loss[0])
else:
    world.recv(loss, 0)
    world.send(loss, 0)
    sys.exit(0)
