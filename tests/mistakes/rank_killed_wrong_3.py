# class: rank killed | ranks: 3 | fault: 1@21 | mode: watch | needs: mpirun
"""Rank 1 is killed from outside while it waits for its batch."""

import os
import signal
import threading
import time

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
batch = np.zeros(4)
if rank == 0:
    time.sleep(2)
    world.send(batch, 1)
elif rank == 1:
    threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGKILL)).start()
    world.recv(batch, 0)
world.barrier()
