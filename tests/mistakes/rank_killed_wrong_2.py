# class: rank killed | ranks: 2 | fault: 0@15 0@16 | mode: watch | needs: mpirun
"""Rank 0 is killed between two batches, while rank 1 waits for the second."""

import os
import signal

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
batch = np.ones(10)
if rank == 0:
    world.send(batch, 1)
    os.kill(os.getpid(), signal.SIGKILL)
    world.send(batch, 1)
else:
    world.recv(batch, 0)
    world.recv(batch, 0)
