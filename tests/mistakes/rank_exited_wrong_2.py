# class: rank exited | ranks: 2 | fault: 1@17 1@19 | mode: watch
"""Rank 1 receives a loss that is no number and leaves with a message."""

import sys

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
loss = np.array([np.nan if rank == 0 else 0.5])
if rank == 0:
    world.send(loss, 1)
    world.recv(loss, 1)
else:
    world.recv(loss, 0)
    if np.isnan(loss[0]):
        sys.exit("the loss is not a number")
    world.send(loss, 0)
