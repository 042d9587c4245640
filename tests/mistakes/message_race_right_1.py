# class: none | ranks: 3 | mode: watch
"""Header and body are told apart by their tags, whoever is first."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
header, body = np.empty(2), np.empty(2)
if rank == 0:
    for _ in (1, 2):
        world.recv(header, mp.ANY_SOURCE, tag=1)
    world.recv(body, 1, tag=2)
    assert (body == 1).all()
else:
    world.send(np.full(2, float(rank)), 0, tag=1)
    if rank == 1:
        world.send(np.full(2, float(rank)), 0, tag=2)
