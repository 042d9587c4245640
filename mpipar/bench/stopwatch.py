"""What both programs of `mpipar bench step` do with a training step: run it, time it, weigh it."""

import sys
import time
from collections.abc import Callable
from typing import Any


def answer(request: dict[str, Any], step: Callable[[int], Any], number: int, before: int) -> dict[str, Any]:
    """Do `request["steps"]` steps from the `number`-th on.

    step: number -> the loss, a float or something with item()
    before: bytes that the process held before the model was made
    returns: seconds of each step, its loss, and the most bytes that were held so far
    """
    times, losses = [], []
    for i in range(number, number + request["steps"]):
        start = time.perf_counter()
        loss = step(i)
        times.append(time.perf_counter() - start)
        losses.append(loss)
    return {"times": times, "losses": [x.item() for x in losses], "peak": peak_memory(), "before": before}


def peak_memory() -> int | None:
    """Bytes that this process held at most; None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
