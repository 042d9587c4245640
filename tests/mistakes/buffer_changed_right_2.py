# class: none | ranks: 3 | mode: watch
"""Scatter by hand: an array a worker."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
parts = np.zeros((3, 100_000))
if rank == 0:
    requests = []
    for worker in (1, 2):
        parts[worker] = worker
        requests.append(world.isend(parts[worker], worker))
    for request in requests:
        request.wait()
else:
    assert (world.recv(parts[0], 0) == rank).all()
