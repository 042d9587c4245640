# class: none | ranks: 4 | mode: watch
"""Many small messages of random sizes between random pairs, and large ones among them."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
rng = np.random.default_rng(1)  # the same on all ranks
for number in range(400):
    source, dest = rng.choice(size, 2, replace=False)
    n = int(rng.integers(1, 100)) * (1000 if number % 50 == 0 else 1)
    if rank == source:
        world.send(np.full(n, number), int(dest), tag=number % 7)
    elif rank == dest:
        assert (world.recv(np.empty(n, np.int64), int(source), tag=number % 7) == number).all()
