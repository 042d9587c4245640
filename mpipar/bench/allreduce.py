"""`mpipar bench allreduce`: float32 in place, ours against MPI's own and against gloo, and the limit.

The programs of sums.py and gloo.py are launched in turn, several times. Each pair of launches sees about
the same machine, so it gives a ratio, a peer's time to ours; their median counts, with the least and
the largest. Ours is algorithm="auto" with checking as MPIPAR_CHECK says, and no trace.

The limit: every rank has to read its n bytes and to write n bytes of sums, so it takes at least as long
as a copy of n bytes on all ranks at once, measured in the same batches.
"""

import importlib.util
import statistics
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from mpipar.bench.launch import run_peers, run_ranks
from mpipar.errors import OptionError
from mpipar.settings import settings
from mpipar.view import readable_bytes, readable_time

UNITS = {"B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
LIMIT = 300.0  # s for one launch
LARGE = 1 << 20  # bytes from which on we are to be as fast as MPI's own
NEAR, NEAR_BYTES = 1.6, 64 << 20  # times the limit, and for how many bytes


def measure(
    ranks: int,
    sizes: list[int],
    pairs: int = 5,
    batches: int = 12,
    after_pair: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Launch so many pairs and compare.

    returns: {"pairs": [{"ours": [{"bytes", "algorithm", "ours", "native", "copy"}, …], "gloo": [s, …]}, …],
        "summary": [a row a size, see `compare`], …}; without torch there is no gloo
    errors: LaunchError without a working mpirun; OptionError for fewer than 2 ranks
    """
    if ranks < 2:
        raise OptionError(f"bench: {ranks} rank has nobody to add to; give --ranks 2 or more")
    program = [str(batches), *map(str, sizes)]
    has_torch = importlib.util.find_spec("torch") is not None
    found = []
    for _ in range(pairs):
        ours = run_ranks(ranks, ["-m", "mpipar.bench.sums", *program], LIMIT, MPIPAR_TRACE="0")
        peer = run_peers(ranks, "mpipar.bench.gloo", program, LIMIT) if has_torch else None
        found.append({"ours": ours, "gloo": peer})
        after_pair()
    summary = [compare(ranks, i, found) for i in range(len(sizes))]
    return {"ranks": ranks, "batches": batches, "check": settings().check, "pairs": found, "summary": summary}


def compare(ranks: int, i: int, pairs: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of size i.

    returns: {"bytes", "algorithm", "ours", "copy": medians in s, "limit": the median of ours / copy,
        "native", "gloo": {"seconds", "ratio": medians, "least", "most", "target"} or None}
    """
    rows = [pair["ours"][i] for pair in pairs]
    nbytes, ours = rows[0]["bytes"], [row["ours"] for row in rows]
    peers = {
        "native": [row["native"] for row in rows],
        "gloo": [pair["gloo"] and pair["gloo"][i] for pair in pairs],
    }
    return {
        "bytes": nbytes,
        "algorithm": rows[0]["algorithm"],
        "ours": statistics.median(ours),
        "copy": statistics.median(row["copy"] for row in rows),
        "limit": statistics.median(row["ours"] / row["copy"] for row in rows),
        **{name: _ratio(times, ours, target(name, ranks, nbytes)) for name, times in peers.items()},
    }


def _ratio(peer: list[float | None], ours: list[float], wanted: float | None) -> dict[str, Any] | None:
    if None in peer:
        return None
    ratios = [theirs / mine for theirs, mine in zip(peer, ours, strict=True)]
    return {
        "seconds": statistics.median(peer),
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "target": wanted,
    }


def target(peer: str, ranks: int, nbytes: int) -> float | None:
    """How many times a peer's time may be ours at least; None where nothing is asked."""
    if peer == "gloo":
        return 3.0 if ranks == 2 else 2.0
    if nbytes >= LARGE:
        return 1.0
    return 0.6 if ranks == 2 else None


def met(row: dict[str, Any]) -> bool:
    """Whether a row has all that is asked of it."""
    peers = [row[name] for name in ("native", "gloo") if row[name] is not None]
    fast = all(peer["target"] is None or peer["ratio"] >= peer["target"] for peer in peers)
    return fast and (row["bytes"] < NEAR_BYTES or row["limit"] <= NEAR)


def sizes_of(text: str) -> list[int]:
    """Bytes for "1KiB,1MiB", and for "1KiB..64MiB", which goes on by factors of 4.

    errors: OptionError for what is no size
    """
    first, dots, last = text.partition("..")
    if not dots:
        return [_size(part) for part in text.split(",")]
    found, end = [_size(first)], _size(last)
    while found[-1] * 4 <= end:
        found.append(found[-1] * 4)
    return found


def _size(text: str) -> int:
    number = text.strip().rstrip("BKMGibkmg")
    unit = UNITS.get(text.strip()[len(number) :].upper() or "B")
    if unit is None or not number.isdecimal() or int(number) == 0 or int(number) * unit % 4:
        raise OptionError(
            f"bench: {text!r} is no size of float32 numbers; give e.g. 1KiB,1MiB or 1KiB..64MiB"
        )
    return int(number) * unit


def table(result: dict[str, Any]) -> Table:
    """A row a size: seconds, ratios as median (least … most), and ours as a multiple of the limit."""
    pairs, ranks = len(result["pairs"]), result["ranks"]
    title = (
        f"Allreduce of float32 in place on {ranks} ranks, ratios to ours: medians of {pairs} pairs of runs"
    )
    shown = Table(title=title, title_justify="left", box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for column in ("bytes", "ours", "native", "ratio", "gloo", "ratio", "copy", "ours/copy", "met"):
        shown.add_column(column, justify="right", no_wrap=True)
    for row in result["summary"]:
        cells = [cell for name in ("native", "gloo") for cell in _peer_cells(row[name])]
        limit = [readable_time(row["copy"]), f"{row['limit']:.2f}"]
        shown.add_row(
            readable_bytes(row["bytes"]),
            readable_time(row["ours"]),
            *cells,
            *limit,
            "yes" if met(row) else "no",
        )
    shown.caption, shown.caption_justify = _caption(result["summary"]), "left"
    return shown


def _peer_cells(peer: dict[str, Any] | None) -> tuple[str, str]:
    if peer is None:
        return "-", "-"
    ratio, least, most = (_three_digits(peer[name]) for name in ("ratio", "least", "most"))
    return readable_time(peer["seconds"]), f"{ratio} ({least}…{most})"


def _three_digits(ratio: float) -> str:
    return f"{ratio:.{2 if ratio < 10 else 1 if ratio < 100 else 0}f}"


def _caption(rows: list[dict[str, Any]]) -> str:
    """Which algorithms were ours, and what is missing."""
    changes = [rows[0], *(b for a, b in pairwise(rows) if b["algorithm"] != a["algorithm"])]
    text = "ours: " + ", ".join(f"{row['algorithm']} from {readable_bytes(row['bytes'])}" for row in changes)
    if rows[0]["gloo"] is None:
        text += "\ngloo: torch is not installed; pip install torch==2.13.0"
    return text
