# class: none | ranks: 4 | mode: watch
"""Three workers beside a master: their collectives are no concern of his."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
workers = world.split(None if rank == 0 else 1)
x = np.full(3, float(rank))
if workers is not None:
    x = workers.allreduce(x)
    assert (x == 6).all() and len(workers.allgather(x)) == 9
world.barrier()
