# class: none | ranks: 3 | mode: watch
"""The report is sent before the barrier; rank 2 comes to it a second late."""

import time

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
report = np.zeros(2)
if rank == 0:
    world.send(report + 1, 1)
elif rank == 1:
    world.recv(report, 0)
    assert report.sum() == 2
else:
    time.sleep(1.2)
world.barrier()
