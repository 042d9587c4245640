# class: rank killed | ranks: 3 | fault: 1@13 1@15 | mode: watch | needs: mpirun
"""Rank 1 is killed, as by the kernel when memory runs out."""

import os
import signal

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
world.barrier()
if rank == 1:
    os.kill(os.getpid(), signal.SIGKILL)
total = world.allreduce(np.ones(1000))
