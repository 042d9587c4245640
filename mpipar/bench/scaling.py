"""`mpipar bench scaling`: weak scaling, from the runs of `mpipar bench step`.

With p ranks there is p times as much work, a batch a rank. The efficiency is the step's time on one
rank over its time on p: 1 where communication, and sharing a memory, cost nothing.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from mpipar.bench import step
from mpipar.view import readable_time

TARGET = 0.92


def measure(names: Sequence[str] = ("mlp", "gpt"), ranks: int = 2, pairs: int = 7) -> dict[str, Any]:
    """step.measure on 1 and on `ranks`, with "efficiency": {workload: {"ours", "ours ZeRO", "peer": …}}.

    errors: as step.measure
    """
    result = step.measure(names, (1, ranks), pairs)
    return {**result, "efficiency": {name: efficiency(result["rows"], name) for name in names}}


def efficiency(rows: list[dict[str, Any]], name: str) -> dict[str, float]:
    """Time on one rank over time on several, ours with each strategy and the peer's."""
    return {who: one / several for who, one, several in _times(rows, name)}


def _times(rows: list[dict[str, Any]], name: str) -> Iterator[tuple[str, float, float]]:
    """(whose, s on one rank, s on several)"""
    one, *several = (row for row in rows if row["workload"] == name)
    for row in several:
        yield f"ours{step.STRATEGIES[row['strategy']]}", one["ours"], row["ours"]
    if "peer" in one:
        yield "peer", one["peer"], several[0]["peer"]


def table(result: dict[str, Any]) -> Table:
    """Times and efficiencies, ours and the peer's."""
    ranks = result["rows"][1]["ranks"]
    title = f"Weak scaling from 1 to {ranks} ranks; peer: {result['peer'] or 'none'}"
    shown = Table(title=title, title_justify="left", box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    shown.add_column("workload")
    for name in ("", "1 rank", f"{ranks} ranks", "efficiency", "target"):
        shown.add_column(name, justify="right")
    for name in result["efficiency"]:
        for who, one, several in _times(result["rows"], name):
            goal = "" if who == "peer" else f"≥ {TARGET}"
            shown.add_row(name, who, readable_time(one), readable_time(several), f"{one / several:.2f}", goal)
    return shown
