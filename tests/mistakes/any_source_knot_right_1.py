# class: none | ranks: 3 | mode: watch
"""Gossip: everybody tells two others, then listens to whoever speaks."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
news, heard = np.full(1, 10**rank), np.empty(1, np.int64)
requests = [world.isend(news, peer) for peer in range(size) if peer != rank]
total = 0
for _ in range(size - 1):
    total += world.recv(heard, mp.ANY_SOURCE)[0]
for request in requests:
    request.wait()
assert total == 111 - 10**rank
