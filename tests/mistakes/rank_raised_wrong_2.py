# class: rank raised | ranks: 2 | fault: 0@14 0@19 | mode: watch
"""Rank 0 cannot read its data, and rank 1 waits for them."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank


def load(name):
    if not name.endswith(".npy"):
        raise ValueError(f"{name} is no .npy file")
    return np.ones(4)


if rank == 0:
    world.send(load("digits.csv"), 1)
else:
    world.recv(np.empty(4), 0)
