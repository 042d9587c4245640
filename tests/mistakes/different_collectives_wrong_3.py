# class: different collectives | ranks: 4 | fault: 3@13 | mode: watch
"""Three workers beside a master: worker 3 gathers where the others sum."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
workers = world.split(None if rank == 0 else 1)
x = np.full(3, float(rank))
if rank == 3:
    x = workers.allgather(x)
elif rank > 0:
    x = workers.allreduce(x)
world.barrier()
