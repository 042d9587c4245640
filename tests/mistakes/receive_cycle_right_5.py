# class: none | ranks: 2 | mode: watch
"""Rank 0 asks once whether the answer is there, and computes long before it sends the question."""

import time

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
question, answer = np.full(3, 7.0), np.empty(3)
if rank == 0:
    request = world.irecv(answer, 1)
    assert not request.test()
    end, steps = time.perf_counter() + 1.5, 0
    while time.perf_counter() < end:
        steps += 1
    world.send(question, 1)
    request.wait()
    assert (answer == 14).all()
else:
    world.send(2 * world.recv(question, 0), 0)
