# class: any-source knot | ranks: 3 | fault: 0@12 1@12 2@12 | mode: watch
"""Gossip: everybody listens for news before telling any."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
news = np.full(1, rank)
heard = np.empty(1, np.int64)
world.recv(heard, mp.ANY_SOURCE)
world.send(news, (rank + 1) % size)
