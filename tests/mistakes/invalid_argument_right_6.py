# class: none | ranks: 2 | mode: watch
"""Metrics travel as numbers in an agreed order."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
metrics = {"loss": 0.5, "accuracy": 0.75}
numbers = np.array([metrics[name] for name in sorted(metrics)])
if rank == 1:
    world.send(numbers, 0, tag=4)
else:
    assert world.recv(np.empty(2), 1, tag=4).tolist() == [0.75, 0.5]
