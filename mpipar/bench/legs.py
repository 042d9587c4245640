"""What a small message costs: the program that two ranks run for `mpipar bench checks`.

Two ranks play ping-pong with 8 bytes; half a round trip is a leg. Then they sum 8 bytes with
allreduce. Both are tried in short batches that take turns, so that a busy moment of the machine
does not hit one of them alone. Other programs can only make a batch slower: the fastest counts.
"""

import json
import statistics
import sys
import time
from typing import Any

import numpy as np

from mpipar.comm import world
from mpipar.errors import LaunchError


def measure(comm: Any, batches: int, calls: int) -> dict[str, list[float]]:
    """Seconds of a leg and of an allreduce: (the fastest, the median) of so many batches of calls.

    errors: LaunchError unless there are two ranks
    """
    if comm.size != 2:
        raise LaunchError(f"bench: ping-pong is for 2 ranks, here are {comm.size}; start 2")
    times: dict[str, list[float]] = {"leg": [], "allreduce": []}
    for _ in range(batches):
        times["leg"].append(_ping_pong(comm, calls) / 2)
        times["allreduce"].append(_allreduces(comm, calls))
    return {what: [min(taken), statistics.median(taken)] for what, taken in times.items()}


def _ping_pong(comm: Any, calls: int) -> float:
    x, peer = np.zeros(1), 1 - comm.rank
    comm.barrier()
    start = time.perf_counter()
    for _ in range(calls):
        if comm.rank == 0:
            comm.send(x, peer)
            comm.recv(x, peer)
        else:
            comm.recv(x, peer)
            comm.send(x, peer)
    return (time.perf_counter() - start) / calls


def _allreduces(comm: Any, calls: int) -> float:
    x = np.zeros(1)
    comm.barrier()
    start = time.perf_counter()
    for _ in range(calls):
        comm.allreduce(x, out=x)
    return (time.perf_counter() - start) / calls


def main() -> None:
    """Arguments: batches and calls. Rank 0 prints the result as JSON."""
    comm = world()
    result = measure(comm, *map(int, sys.argv[1:3]))
    if comm.rank == 0:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
