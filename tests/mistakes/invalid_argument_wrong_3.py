# class: invalid argument | ranks: 3 | fault: any 0@11 1@11 2@11 | mode: watch
"""Ranks are counted from 1: there is no root 3 among three ranks."""

import numpy as np

import mpipar as mp

world = mp.world()
size = world.size
loss = np.array([0.25])
total = world.reduce(loss, root=size)
