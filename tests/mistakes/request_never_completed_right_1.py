# class: none | ranks: 2 | mode: watch
"""An isend of 2 MiB, computing meanwhile, and a wait."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
gradient = np.ones(1 << 18)
if rank == 0:
    request = world.isend(gradient, 1)
    norm = float(gradient @ gradient)
    request.wait()
    assert norm == 1 << 18
else:
    assert world.recv(np.empty(1 << 18), 0).sum() == 1 << 18
