# class: none | ranks: 2 | mode: watch
"""Nonblocking exchange: receive and send are both started before anybody waits."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
peer = 1 - rank
gradient, arriving = np.full(8, rank + 1.0), np.empty(8)
requests = [world.irecv(arriving, peer), world.isend(gradient, peer)]
for request in requests:
    request.wait()
gradient += arriving
assert (gradient == 3).all()
