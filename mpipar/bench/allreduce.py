"""`mpipar bench allreduce`: float32 in place, ours against MPI's own and against gloo, and the limit.

The programs of sums.py and gloo.py run at once, one of them asleep, and take turns. The two turns of a
pair see about the same machine, so it gives a ratio, a peer's time to ours; the median of the ratios
counts, with the least and the largest. Ours is algorithm="auto" without a trace, checked as
MPIPAR_CHECK says.

The limit: every rank has to read its n bytes and to write n bytes of sums, as it does for a copy of n
bytes on all ranks at once, measured in the same batches. (A copy may be the slower of the two: the
memory that it writes to has to be brought into the cache as well.)
"""

import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from mpipar.bench.step import PEER, find_peer
from mpipar.bench.turns import Program
from mpipar.comm import find_launcher
from mpipar.errors import OptionError
from mpipar.settings import settings
from mpipar.view import readable_bytes, readable_time

UNITS = {"B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
LARGE = 1 << 20  # bytes from which on we are to be as fast as MPI's own
NEAR, NEAR_BYTES = 1.6, 64 << 20  # times the limit, and for how many bytes


def measure(ranks: int, sizes: Sequence[int], pairs: int = 7, batches: int = 10) -> dict[str, Any]:
    """A row a size.

    returns: {"ranks", "check", "peer": "torch 2.13.0" or None, "rows": [see `compare`]}
    errors: LaunchError without a working mpirun; OptionError for fewer than 2 ranks
    """
    if ranks < 2:
        raise OptionError(f"bench: {ranks} rank has nobody to add to; give --ranks 2 or more")
    peer = find_peer()
    with ExitStack() as stack:
        programs = [stack.enter_context(closing(_ours(ranks)))]
        if peer is not None:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            programs.append(stack.enter_context(closing(_gloo(ranks, Path(folder)))))
        rows = [compare(ranks, n, [_pair(programs, n, batches, k) for k in range(pairs)]) for n in sizes]
    return {"ranks": ranks, "check": settings().check, "peer": peer, "pairs": pairs, "rows": rows}


def _ours(ranks: int) -> Program:
    launcher = find_launcher()
    command = launcher.command(ranks, ["-m", "mpipar.bench.sums"])
    return Program("mpipar", ranks, [command], launcher.environment(MPIPAR_TRACE="0"))


def _gloo(ranks: int, folder: Path) -> Program:
    program = [sys.executable, "-m", "mpipar.bench.gloo"]
    commands = [[*program, str(rank), str(ranks), str(folder / "meeting")] for rank in range(ranks)]
    return Program("torch", ranks, commands, {"OMP_NUM_THREADS": "1"})


def _pair(programs: list[Program], nbytes: int, batches: int, number: int) -> dict[str, Any]:
    """What rank 0 of each program measured."""
    found: dict[str, Any] = {}
    for program in programs[:: 1 if number % 2 == 0 else -1]:
        found |= program.turn(bytes=nbytes, batches=batches)[0]
    return found


def compare(ranks: int, nbytes: int, turns: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of a size.

    turns: of each pair {"algorithm", "ours", "native", "copy": s, "gloo": s where there is torch}
    returns: {"bytes", "algorithm", "ours", "copy": medians in s, "limit": the median of ours / copy,
        "native", "gloo": {"seconds", "ratio": medians, "least", "most", "target"} or None, "turns"}
    """
    return {
        "bytes": nbytes,
        "algorithm": turns[0]["algorithm"],
        "ours": statistics.median(turn["ours"] for turn in turns),
        "copy": statistics.median(turn["copy"] for turn in turns),
        "limit": statistics.median(turn["ours"] / turn["copy"] for turn in turns),
        **{name: _ratio(name, turns, target(name, ranks, nbytes)) for name in ("native", "gloo")},
        "turns": turns,
    }


def _ratio(peer: str, turns: list[dict[str, Any]], wanted: float | None) -> dict[str, Any] | None:
    if peer not in turns[0]:
        return None
    ratios = [turn[peer] / turn["ours"] for turn in turns]
    return {
        "seconds": statistics.median(turn[peer] for turn in turns),
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
    pairs, ranks = result["pairs"], result["ranks"]
    title = f"Allreduce of float32 in place on {ranks} ranks, ratios to ours: medians of {pairs} pairs"
    shown = Table(title=title, title_justify="left", box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    shown.collapse_padding = True
    for column in ("bytes", "ours", "native", "ratio", "gloo", "ratio", "copy", "ours/copy", "met"):
        shown.add_column(column, justify="right", no_wrap=True)
    for row in result["rows"]:
        cells = [cell for name in ("native", "gloo") for cell in _peer_cells(row[name])]
        limit = [readable_time(row["copy"]), f"{row['limit']:.2f}"]
        shown.add_row(
            _size_of(row["bytes"]),
            readable_time(row["ours"]),
            *cells,
            *limit,
            "yes" if met(row) else "no",
        )
    shown.caption, shown.caption_justify = _caption(result["rows"]), "left"
    return shown


def _size_of(nbytes: int) -> str:
    return readable_bytes(nbytes).replace(".0 ", " ")


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
    text = "ours: " + ", ".join(f"{row['algorithm']} from {_size_of(row['bytes'])}" for row in changes)
    if rows[0]["gloo"] is None:
        text += f"\ngloo: torch is not installed; pip install {PEER}"
    return text
