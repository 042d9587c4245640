# class: none | ranks: 2 | mode: watch
"""Two batches are received into two rows at once."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
batch = np.empty((2, 5))
if rank == 0:
    for number in range(2):
        world.send(np.full(5, float(number)), 1)
else:
    requests = [world.irecv(row, 0) for row in batch]
    for number, request in enumerate(requests):
        assert (request.wait() == number).all()
