# class: none | ranks: 2 | mode: watch
"""Rank 0 takes its time between two batches."""

import time

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
batch = np.ones(10)
if rank == 0:
    world.send(batch, 1)
    time.sleep(1.5)
    world.send(batch, 1)
else:
    world.recv(batch, 0)
    world.recv(batch, 0)
