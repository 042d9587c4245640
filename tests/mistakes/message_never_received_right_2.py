# class: none | ranks: 3 | mode: watch
"""The workers' reports are received after the barrier."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
result, done = np.full(3, float(rank)), np.array([rank])
if rank == 0:
    for worker in (1, 2):
        world.recv(result, worker, tag=1)
else:
    world.send(result, 0, tag=1)
    report = world.isend(done, 0, tag=9)
world.barrier()
if rank == 0:
    assert sum(world.recv(done, mp.ANY_SOURCE, tag=9)[0] for _ in (1, 2)) == 3
else:
    report.wait()
