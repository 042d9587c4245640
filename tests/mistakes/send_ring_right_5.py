# class: none | ranks: 2 | mode: strict
"""Strict mode and a slow receiver: the sender polls its isend, then blocks in send."""

import time

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
x = np.ones(3)
if rank == 0:
    request = world.isend(x, 1)
    while not request.test():
        time.sleep(0.01)
    world.send(x, 1)
else:
    for _ in range(2):
        time.sleep(0.5)
        world.recv(x, 0)
