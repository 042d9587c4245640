# class: none | ranks: 3 | mode: watch
"""Rank 0 polls with test() and computes meanwhile; the others are slow to answer."""

import time

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
answers = np.zeros((3, 2))
if rank == 0:
    requests = [world.irecv(answers[r], r) for r in (1, 2)]
    polls = 0
    while not all(request.test() for request in requests):
        polls += 1
        time.sleep(0.01)
    assert answers[1:, 0].tolist() == [1, 2]
else:
    time.sleep(0.6 * rank)
    world.send(np.full(2, float(rank)), 0)
