# class: different counts | ranks: 3 | fault: 1@14 | mode: watch
"""Gradients are summed in the order of a dictionary, which rank 1 filled another way round."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
gradients = {"weight": np.ones((4, 3)), "bias": np.ones(3)}
if rank == 1:
    gradients = dict(reversed(gradients.items()))
for name in gradients:
    gradients[name] = world.allreduce(gradients[name])
