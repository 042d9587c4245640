"""`mpipar bench virtual`: how many messages a second virtual ranks exchange, and what a thousand need.

messages   every rank sends 8 bytes to its right neighbour and receives from its left, again and
           again; without and with checking
ring       one allreduce by the ring: 2(p-1) messages a rank

Each is run in a process of its own, so that its peak memory is its own.
"""

import json
import subprocess
import sys
import time
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from mpipar.bench.stopwatch import peak_memory
from mpipar.comm.virtual import run
from mpipar.errors import LaunchError
from mpipar.settings import child_environment
from mpipar.view import readable_bytes, readable_time

MESSAGES, SECONDS, MEMORY = 200_000, 20.0, 2 << 30  # a second; s and bytes of the ring on 1,024 ranks


def measure(
    ranks: int = 32, steps: int = 4000, ring_ranks: int = 1024, nbytes: int = 256 << 10
) -> dict[str, Any]:
    """Messages a second on `ranks`, and one ring allreduce of nbytes on `ring_ranks`.

    returns: {"messages": {"off": {"ranks", "messages", "seconds", "memory"}, "watch": …}, "ring": …}
    """
    return {
        "messages": {check: _child("neighbours", ranks, steps, check) for check in ("off", "watch")},
        "ring": {"bytes": nbytes, **_child("ring", ring_ranks, nbytes, "off")},
    }


def _child(what: str, ranks: int, amount: int, check: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "mpipar.bench.virtual", what, str(ranks), str(amount), check]
    environment = child_environment(MPIPAR_TRACE="0")
    child = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if child.returncode:
        said = (child.stderr.strip().splitlines() or ["nothing"])[-1]
        raise LaunchError(f"bench: {ranks} virtual ranks ended with {said!r}; give fewer ranks")
    return json.loads(child.stdout)


def neighbours(world: Any, steps: int) -> None:
    """`steps` messages to the right neighbour."""
    right, left = (world.rank + 1) % world.size, (world.rank - 1) % world.size
    x, out = np.zeros(1), np.empty(1)
    for _ in range(steps):
        world.sendrecv(x, right, left, out=out)


def ring(world: Any, nbytes: int) -> None:
    """One allreduce."""
    x = np.ones(nbytes // 4, np.float32)
    world.allreduce(x, algorithm="ring", out=x)
    assert x.size == 0 or (x[0], x[-1]) == (world.size, world.size)


def main() -> None:
    """Arguments: what, ranks, amount, check. Prints the result as JSON."""
    what, (ranks, amount), check = sys.argv[1], map(int, sys.argv[2:4]), sys.argv[4]
    start = time.perf_counter()
    run({"neighbours": neighbours, "ring": ring}[what], ranks, args=(amount,), check=check)
    seconds = time.perf_counter() - start
    messages = ranks * (amount if what == "neighbours" else 2 * (ranks - 1))
    result = {"ranks": ranks, "messages": messages, "seconds": seconds, "memory": peak_memory()}
    print(json.dumps(result))


def table(result: dict[str, Any]) -> Table:
    """Rates and times against what they have to be."""
    title = "Virtual ranks"
    shown = Table(title=title, title_justify="left", box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for column in ("", "ranks", "messages", "time", "messages/s", "peak memory", "target", "met"):
        shown.add_column(column, justify="right" if column not in ("", "target") else "left")
    rows = [(f"8 B, check {check}", row) for check, row in result["messages"].items()]
    rows.append((f"ring, {readable_bytes(result['ring']['bytes'])}", result["ring"]))
    for name, row in rows:
        rate = row["messages"] / row["seconds"]
        memory = "-" if row["memory"] is None else readable_bytes(row["memory"])
        cells = [f"{row['ranks']:,}", f"{row['messages']:,}", readable_time(row["seconds"]), f"{rate:,.0f}"]
        shown.add_row(name, *cells, memory, *_judged(name, row, rate))
    return shown


def _judged(name: str, row: dict[str, Any], rate: float) -> tuple[str, str]:
    """What is asked of it, and whether it holds."""
    if name.startswith("ring"):
        good = row["seconds"] < SECONDS and (row["memory"] or 0) < MEMORY
        return f"< {SECONDS:.0f} s, < {readable_bytes(MEMORY)}", _yes(good)
    return ("", "") if name.endswith("watch") else (f"≥ {MESSAGES:,}/s", _yes(rate >= MESSAGES))


def _yes(good: bool) -> str:
    return "yes" if good else "no"


if __name__ == "__main__":
    main()
