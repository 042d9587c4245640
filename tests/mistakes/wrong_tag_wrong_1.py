# class: wrong tag | ranks: 2 | fault: any 0@13 1@16 | mode: watch
"""Images and labels under two tags: the labels are awaited under a third."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
images, labels = np.zeros((2, 8), np.float32), np.zeros(2, np.int64)
if rank == 0:
    world.send(images, 1, tag=1)
    world.send(labels, 1, tag=2)
else:
    world.recv(images, 0, tag=1)
    world.recv(labels, 0, tag=3)
