# class: rank exited | ranks: 3 | fault: 2@13 2@15 | mode: watch
"""Rank 2 finds no accelerator and leaves with an error status."""

import sys

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
devices = [1, 1, 0][rank]
world.barrier()
if devices == 0:
    sys.exit(3)
total = world.allreduce(np.ones(2))
