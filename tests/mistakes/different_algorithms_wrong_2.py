# class: different algorithms | ranks: 4 | fault: 2@12 | mode: watch
"""Rank 2 was told to broadcast along a line, the others use the tree."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
plan = {0: "binomial", 1: "binomial", 2: "linear", 3: "binomial"}
weights = np.full(8, float(rank))
world.bcast(weights, algorithm=plan[rank])
