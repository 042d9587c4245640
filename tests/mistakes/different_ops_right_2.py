# class: none | ranks: 4 | mode: watch
"""The range of the data: the largest, the smallest, and a running product."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
values = np.array([1.0, 7.0]) * (rank + 1)
largest = world.reduce(values, op="max", root=0)
smallest = world.reduce(values, op="min", root=0)
factorial = world.scan(np.array([rank + 1]), op="prod")
assert factorial[0] == [1, 2, 6, 24][rank]
if rank == 0:
    assert (largest - smallest).tolist() == [3, 21]
