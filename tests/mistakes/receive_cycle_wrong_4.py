# class: receive cycle | ranks: 2 | fault: 0@12 1@12 0@13 1@13 | mode: watch
"""Nonblocking exchange: both wait for the message before they send theirs."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
peer = 1 - rank
gradient, arriving = np.full(8, rank + 1.0), np.empty(8)
request = world.irecv(arriving, peer)
request.wait()
world.send(gradient, peer)
gradient += arriving
