# class: none | ranks: 3 | mode: watch
"""Rank 1 waits long for its batch, and a timer of its own goes off meanwhile."""

import threading
import time

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
batch, late = np.zeros(4), []
if rank == 0:
    time.sleep(0.8)
    world.send(batch, 1)
elif rank == 1:
    timer = threading.Timer(0.4, late.append, (True,))
    timer.start()
    world.recv(batch, 0)
    timer.join()
    assert late
world.barrier()
