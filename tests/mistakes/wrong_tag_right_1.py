# class: none | ranks: 2 | mode: watch
"""Images and labels under two tags, received in the other order."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
images, labels = np.full((2, 8), 0.5, np.float32), np.array([3, 4])
if rank == 0:
    requests = [world.isend(images, 1, tag=1), world.isend(labels, 1, tag=2)]
    for request in requests:
        request.wait()
else:
    images[:], labels[:] = 0, 0
    world.recv(labels, 0, tag=2)
    world.recv(images, 0, tag=1)
    assert labels.sum() == 7 and images.sum() == 8
