"""`mpipar bench checks`: what MPIPAR_CHECK=watch adds to a message and to a small collective.

The program of legs.py is launched with checking off and on in turn, several times; the two launches
of a pair see about the same machine, so each pair gives a difference, and their median counts.
"""

import statistics
from collections.abc import Callable
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from mpipar.bench.launch import launch

TARGETS = {"leg": 1.5e-6, "allreduce": 3e-6}  # s that checking may add
NAMES = {"leg": "point-to-point leg, 8 B", "allreduce": "allreduce, 8 B"}


def measure(
    pairs: int = 7, batches: int = 50, calls: int = 200, after_pair: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Launch so many pairs and compare.

    returns: {"pairs": [{"off": …, "watch": …}, …], "summary": {"leg": {"off": s, "watch": s, "cost": s,
        "least": s, "most": s, "target": s}, "allreduce": …}, …}
    errors: LaunchError without a working mpirun
    """
    found = []
    for number in range(pairs):
        order = ("off", "watch") if number % 2 == 0 else ("watch", "off")
        found.append({check: _run(check, batches, calls) for check in order})
        after_pair()
    summary = {what: _compare(what, found) for what in TARGETS}
    return {"ranks": 2, "batches": batches, "calls": calls, "pairs": found, "summary": summary}


def _compare(what: str, pairs: list[dict[str, dict]]) -> dict[str, float]:
    off, watch = ([pair[check][what][0] for pair in pairs] for check in ("off", "watch"))
    cost = [b - a for a, b in zip(off, watch, strict=True)]
    return {
        "off": statistics.median(off),
        "watch": statistics.median(watch),
        "cost": statistics.median(cost),
        "least": min(cost),
        "most": max(cost),
        "target": TARGETS[what],
    }


def _run(check: str, batches: int, calls: int) -> dict[str, list[float]]:
    return launch("mpipar.bench.legs", batches, calls, MPIPAR_CHECK=check, MPIPAR_TRACE="0")


def table(result: dict[str, Any]) -> Table:
    """A row a quantity: medians without and with checking, and what it adds."""
    title = f"The cost of MPIPAR_CHECK=watch: medians of {len(result['pairs'])} pairs of runs, 2 ranks"
    shown = Table(title=title, title_justify="left", box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    shown.add_column("µs")
    for column in ("off", "watch", "cost", "least", "most", "target", "met"):
        shown.add_column(column, justify="right")
    for what, row in result["summary"].items():
        numbers = [row[name] for name in ("off", "watch", "cost", "least", "most", "target")]
        met = "yes" if row["cost"] <= row["target"] else "no"
        shown.add_row(NAMES[what], *(f"{1e6 * number:.2f}" for number in numbers), met)
    return shown
