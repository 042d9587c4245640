"""The program of `mpipar bench gpu` that trains with mpipar.   arguments: workload, ranks, weights,
strategy, algorithm, port

With several ranks MPIPAR_TRACE names a folder: what was copied beside the messages is read from there.
"""

import sys
import time
from contextlib import nullcontext
from typing import Any

from mpipar.arrays import BACKEND, synchronize
from mpipar.bench.gpu import WORKLOADS
from mpipar.bench.step_ours import Training
from mpipar.bench.turns import serve
from mpipar.comm import world
from mpipar.parallel import DataParallel
from mpipar.trace import read


class Strategy(Training):
    """Training with one of the strategies of DataParallel.   algorithm: of its sums"""

    def __init__(self, work: Any, comm: Any, weights: str, strategy: str, algorithm: str) -> None:
        super().__init__(work, comm, weights)
        if comm is not None:
            self.forward = DataParallel(self.model, comm, strategy, algorithm=algorithm)


def turn(training: Strategy, steps: int, number: int) -> dict[str, Any]:
    """Steps one after the other, and one wait for the GPU at their end.

    returns: {"seconds", "losses"}, of a step "counts", where `fake` counts, and "copies": {"number",
        "bytes", "seconds" in which they held up the rank} beside messages
    """
    comm = training.comm
    synchronize()
    start = time.perf_counter()
    with _counting() as counts, nullcontext() if comm is None else comm.scope("turn", step=number):
        losses = [training.step(number + i) for i in range(steps)]
    synchronize()
    seconds = (time.perf_counter() - start) / steps
    return {
        "seconds": seconds,
        "losses": [loss.item() for loss in losses],
        "counts": {what: count / steps for what, count in (counts or {}).items()},
        "copies": None if comm is None else _copies(comm, number, steps),
    }


def _counting() -> Any:
    if BACKEND != "fake":
        return nullcontext()
    from mpipar.arrays.fake import counting

    return counting()


def _copies(comm: Any, number: int, steps: int) -> dict[str, float]:
    comm.recorder.flush()
    events = read(comm.recorder.folder).ranks[comm.rank].events
    copies = [event for event in events if event.op == "copy" and event.step == number]
    return {
        "number": len(copies) / steps,
        "bytes": sum(event.bytes for event in copies) / steps,
        "seconds": sum(event.end - event.start for event in copies) / 1e9 / steps,
    }


def main() -> None:
    name, ranks, weights, strategy, algorithm, port = sys.argv[1:7]
    comm = world() if int(ranks) > 1 else None
    training, done = Strategy(WORKLOADS[name], comm, weights, strategy, algorithm), 0

    def reply(request: dict[str, Any]) -> dict[str, Any]:
        nonlocal done
        done += request["steps"]
        return turn(training, request["steps"], done - request["steps"])

    serve(int(port), 0 if comm is None else comm.rank, reply)


if __name__ == "__main__":
    main()
