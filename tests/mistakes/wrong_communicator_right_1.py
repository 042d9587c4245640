# class: none | ranks: 2 | mode: watch
"""Two communicators of the same ranks: each message is received where it was sent."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
workers = world.split(0)
weights, extra = np.full(6, float(rank)), np.full(6, rank + 5.0)
if rank == 0:
    requests = [world.isend(weights, 1), workers.isend(extra, 1)]
    for request in requests:
        request.wait()
else:
    workers.recv(extra, 0)
    world.recv(weights, 0)
    assert (weights == 0).all() and (extra == 5).all()
