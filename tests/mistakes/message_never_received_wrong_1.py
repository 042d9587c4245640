# class: message never received | ranks: 2 | fault: 0@13 | mode: watch
"""Three batches are sent and two received; small ones vanish in silence."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
batch = np.ones(4, np.float32)
if rank == 0:
    for step in range(3):
        world.send(batch * step, 1)
else:
    for _ in range(2):
        world.recv(batch, 0)
