"""The program of `mpipar bench allreduce` that runs under mpirun.   argument: port

Ours, MPI's own and a copy of as many bytes on all ranks at once take turns in short batches, so that
a busy moment of the machine does not hit one of them alone. Other programs can only make a batch
slower: the fastest counts. An allreduce ends when rank 0 has the sum, a copy when the last rank has it.
"""

import sys
import time
from typing import Any

import numpy as np

from mpipar.bench.turns import serve
from mpipar.comm import world

CARRIED = 8 << 20  # bytes of a batch, but 1 to 100 calls


def calls_of(nbytes: int) -> int:
    """Calls of a batch."""
    return max(1, min(100, CARRIED // nbytes))


def right_sum(x: Any, ranks: int) -> bool:
    """Whether x is the sum of an array of 1 from rank 0, of 2 from rank 1, and so on."""
    return bool((x == ranks * (ranks + 1) / 2).all())


def measure(comm: Any, mpi: Any, nbytes: int, batches: int) -> dict[str, Any]:
    """{"algorithm", "ours", "native", "copy": s a call}, the fastest of so many batches.

    mpi: the same ranks as mpi4py offers them, with nothing of ours around
    """
    from mpi4py.MPI import IN_PLACE

    x, copy = np.empty((2, nbytes // 4), np.float32)
    contenders = {
        "ours": lambda: comm.allreduce(x, out=x),
        "native": lambda: mpi.Allreduce(IN_PLACE, x),
        "copy": lambda: np.copyto(copy, x),
    }
    for what in ("ours", "native"):
        x.fill(comm.rank + 1)
        contenders[what]()
        assert right_sum(x, comm.size), f"{what}: a wrong sum of {nbytes} bytes on {comm.size} ranks"
    x.fill(0)
    best, calls = dict.fromkeys(contenders, float("inf")), calls_of(nbytes)
    for _ in range(batches):
        for what, call in contenders.items():
            mpi.Barrier()
            start = time.perf_counter()
            for _ in range(calls):
                call()
            if what == "copy":
                mpi.Barrier()
            best[what] = min(best[what], (time.perf_counter() - start) / calls)
    return {"algorithm": comm._choose("allreduce", "auto", x), **best}


def main() -> None:
    from mpi4py.MPI import COMM_WORLD

    comm, mpi = world(), COMM_WORLD.Dup()
    serve(int(sys.argv[1]), comm.rank, lambda asked: measure(comm, mpi, asked["bytes"], asked["batches"]))


if __name__ == "__main__":
    main()
