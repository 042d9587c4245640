# class: none | ranks: 4 | mode: watch
"""Rows of a mesh: one row goes on for a second while the other waits at the barrier of all."""

import time

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
row = world.split(rank // 2)
x = np.ones(3)
if rank >= 2:
    for _ in range(5):
        time.sleep(0.2)
        x = row.allreduce(x, op="mean")
world.barrier()
if rank == 0:
    time.sleep(0.7)
assert (x == 1).all()
