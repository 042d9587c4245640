# class: invalid argument | ranks: 2 | fault: any 0@10 1@10 | mode: watch
"""Averages are called mean here."""

import numpy as np

import mpipar as mp

world = mp.world()
accuracy = np.array([0.9])
accuracy = world.allreduce(accuracy, op="average")
