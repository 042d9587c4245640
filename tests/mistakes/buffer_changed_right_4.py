# class: none | ranks: 3 | mode: watch
"""One array goes to two ranks at once, and two columns of one array are received at once."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
weights, columns = np.full(4, 7.0), np.zeros((4, 2))
if rank == 0:
    requests = [world.isend(weights, 1), world.isend(weights, 2)]
    requests += [world.irecv(columns[:, i], i + 1) for i in range(2)]
    for request in requests:
        request.wait()
    assert (columns == 7).all()
else:
    world.send(world.recv(np.empty(4), 0), 0)
