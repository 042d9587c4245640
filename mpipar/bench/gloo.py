"""The peer of `mpipar bench allreduce`: torch.distributed over gloo, one process a rank, one thread each.

arguments: rank, ranks, a file where the ranks meet, port.   Batches are those of sums.py.
"""

import sys
import time

import torch

from mpipar.bench.sums import calls_of, right_sum
from mpipar.bench.turns import serve


def measure(rank: int, ranks: int, nbytes: int, batches: int) -> dict[str, float]:
    """{"gloo": s of an allreduce in place}, the fastest of so many batches."""
    x = torch.full((nbytes // 4,), rank + 1.0)
    torch.distributed.all_reduce(x)
    assert right_sum(x, ranks), f"gloo: a wrong sum of {nbytes} bytes on {ranks} ranks"
    x.zero_()
    best, calls = float("inf"), calls_of(nbytes)
    for _ in range(batches):
        torch.distributed.barrier()
        start = time.perf_counter()
        for _ in range(calls):
            torch.distributed.all_reduce(x)
        best = min(best, (time.perf_counter() - start) / calls)
    return {"gloo": best}


def main() -> None:
    rank, ranks, meeting, port = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=ranks)
    serve(port, rank, lambda asked: measure(rank, ranks, asked["bytes"], asked["batches"]))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
