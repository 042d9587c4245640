"""The peer of `mpipar bench allreduce`: torch.distributed over gloo, one process a rank, one thread each.

In batches as in sums.py; here only one program takes part.
"""

import json
import sys
import time
from typing import Any

from mpipar.bench.sums import calls_of, right_sum


def measure(torch: Any, rank: int, ranks: int, nbytes: int, batches: int) -> float:
    """Seconds of an allreduce in place, the fastest of so many batches."""
    distributed = torch.distributed
    x = torch.full((nbytes // 4,), rank + 1.0)
    distributed.all_reduce(x)
    assert right_sum(x, ranks), f"gloo: a wrong sum of {nbytes} bytes on {ranks} ranks"
    x.zero_()
    best, calls = float("inf"), calls_of(nbytes)
    for _ in range(batches):
        distributed.barrier()
        start = time.perf_counter()
        for _ in range(calls):
            distributed.all_reduce(x)
        best = min(best, (time.perf_counter() - start) / calls)
    return best


def main() -> None:
    """Arguments: rank, ranks, the file to meet in, batches, and sizes in bytes. Rank 0 prints JSON."""
    import torch
    import torch.distributed

    rank, ranks, meeting = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    batches, *sizes = map(int, sys.argv[4:])
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=ranks)
    found = [measure(torch, rank, ranks, nbytes, batches) for nbytes in sizes]
    torch.distributed.barrier()
    if rank == 0:
        print(json.dumps(found), flush=True)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
