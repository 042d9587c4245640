# class: none | ranks: 3 | mode: watch
"""All ranks hear that one lacks an accelerator, and end alike."""

import sys

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
devices = [1, 1, 0][rank]
world.barrier()
fewest = world.allreduce(np.array([devices]), op="min")[0]
if fewest == 0:
    sys.exit()
