# class: none | ranks: 3 | mode: watch
"""Gradients are summed in the order of their names."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
gradients = {"weight": np.ones((4, 3)), "bias": np.ones(3)}
if rank == 1:
    gradients = dict(reversed(gradients.items()))
for name in sorted(gradients):
    gradients[name] = world.allreduce(gradients[name])
assert gradients["weight"].sum() == 36 and gradients["bias"].sum() == 9
