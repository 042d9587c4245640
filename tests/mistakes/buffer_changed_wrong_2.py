# class: buffer changed | ranks: 3 | fault: 0@15 0@17 | mode: watch
"""Scatter by hand: one array is filled again for every worker while it is under way."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
part = np.zeros(100_000)
if rank == 0:
    requests = []
    for worker in (1, 2):
        part[:] = worker
        requests.append(world.isend(part, worker))
    for request in requests:
        request.wait()
else:
    print(rank, world.recv(part, 0)[0])
