"""Shards sized to measured speed, so that a slow rank does not hold up the others.

A step ends when the slowest rank is done. Let rank r compute v_r samples a second, and the batch
have B samples on p ranks:

    equal shards          B_r = B/p               T = max_r B/(p v_r)  =  B / (p · min v)
    proportional shards   B_r = B v_r / Σ v       T = B / Σ v          =  B / (p · mean v)

With proportional shards all ranks end at the same time. One rank of four at a third of the others'
speed: equal shards take 3 times as long as four fast ranks would, proportional ones 1.2 times.

    speeds = measure_speeds(world, step, samples=16)
    sampler = DistributedSampler(n, world.rank, world.size, batch_size, weights=speeds)

The gradient stays that of the mean over the global batch, because the loader's `share` weighs each
rank's part (data.py). That is exact, and not so for layers that look at the whole batch.
"""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np

from mpipar.arrays import synchronize
from mpipar.comm import Communicator
from mpipar.errors import OptionError


def measure_speeds(comm: Communicator, step: Callable[[], Any], samples: int, repeat: int = 5) -> list[float]:
    """Samples a second of every rank, the same list on all ranks.

    step: what one step computes on `samples` samples, without messages: in them a rank would wait for
        the slower ones
    cost: repeat + 1 steps, of which the first, to warm up, is not timed; the median counts
    """
    if samples < 1 or repeat < 1:
        raise OptionError(f"measure_speeds: samples={samples}, repeat={repeat}: both must be at least 1")
    seconds = [_timed(comm, step) for _ in range(repeat + 1)][1:]
    mine = samples / max(median(seconds), 1e-9)  # on virtual ranks a step may take no time
    return comm.allgather(np.array([mine])).tolist()


def step_seconds(counts: Sequence[int], speeds: Sequence[float]) -> float:
    """max_r B_r / v_r: how long a step computes when rank r has counts[r] samples."""
    return max(count / speed for count, speed in zip(counts, speeds, strict=True) if count)


def balanced_seconds(batch_size: int, speeds: Sequence[float]) -> float:
    """B / Σ v, which no division of the batch can beat; whole samples come close to it."""
    return batch_size / sum(speeds)


def _timed(comm: Communicator, step: Callable[[], Any]) -> float:
    start = comm.wtime()
    step()
    synchronize()
    return comm.wtime() - start
