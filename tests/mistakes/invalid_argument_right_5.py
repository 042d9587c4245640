# class: none | ranks: 2 | mode: watch
"""The mean of the accuracies."""

import numpy as np

import mpipar as mp

world = mp.world()
accuracy = np.array([0.9])
accuracy = world.allreduce(accuracy, op="mean")
assert np.isclose(accuracy[0], 0.9)
