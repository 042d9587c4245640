# class: request started twice | ranks: 2 | fault: 1@15 | mode: watch
"""Two batches are received into one array at once."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
batch = np.empty(5)
if rank == 0:
    for number in range(2):
        world.send(np.full(5, float(number)), 1)
else:
    requests = [world.irecv(batch, 0) for _ in range(2)]
    for request in requests:
        print(request.wait())
