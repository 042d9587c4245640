"""`mpipar bench step`: a training step here and with PyTorch, in turns on the same cores.

For each workload and number of ranks both programs run at once, one of them asleep. First each does
20 steps, whose losses have to agree on every rank, else the row is void. Then come the pairs: some
steps here, as many there, in alternating order, and the matrix products of a step alone. A turn
counts with the median of its steps on rank 0, a pair gives a ratio, and the pairs' median counts.
"""

import importlib.util
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table

from mpipar.bench import graph
from mpipar.bench.step_ours import build
from mpipar.bench.turns import Program
from mpipar.bench.workloads import WORKLOADS
from mpipar.comm import find_launcher
from mpipar.errors import OptionError
from mpipar.view import readable_bytes, readable_time

AGREE, CHECKED = 1e-4, 20  # how far losses may differ, over so many steps
SECONDS = 1.0  # of a turn, about
STRATEGIES = {"data": "", "zero1": " ZeRO"}  # of several ranks; the peer's is DistributedDataParallel
PEER = "torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"


def measure(
    names: Sequence[str] = ("mlp", "small", "gpt"),
    ranks: Sequence[int] = (1, 2),
    pairs: int = 7,
    strategies: Sequence[str] = tuple(STRATEGIES),
) -> dict[str, Any]:
    """A row for each workload and number of ranks, with several ranks for each strategy.

    returns: {"pairs": n, "peer": "torch 2.13.0" or None, "graph": see graph.py, "rows": [{"workload",
        "ranks", "strategy", "ours", "peer", "ratio", "least", "most", "target", "limit", "share", "peak",
        "peer_peak", "apart", …}, …]}, in s and bytes; ratio: the peer's time over ours; apart: the greatest
        difference of two losses
    errors: OptionError for an unknown workload or strategy; LaunchError
    """
    for name in names:
        if name not in WORKLOADS:
            raise OptionError(f"bench step: no workload {name!r}; choose from {', '.join(WORKLOADS)}")
    for strategy in strategies:
        if strategy not in STRATEGIES:
            raise OptionError(f"bench step: no strategy {strategy!r}; choose from {', '.join(STRATEGIES)}")
    peer = find_peer()
    cases = [
        (name, p, strategy) for name in names for p in ranks for strategy in (strategies if p > 1 else ("",))
    ]
    rows = [_row(*case, pairs, with_peer=peer is not None) for case in cases]
    return {"pairs": pairs, "peer": peer, "rows": rows, "graph": graph.measure()}


def find_peer() -> str | None:
    """PyTorch and its version, or None where it is not installed."""
    if importlib.util.find_spec("torch") is None:
        return None
    from importlib.metadata import version

    return f"torch {version('torch')}"


def _row(name: str, ranks: int, strategy: str, pairs: int, with_peer: bool) -> dict[str, Any]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        weights = str(folder / "weights.npz")
        np.savez(weights, **build(WORKLOADS[name]).state_dict())
        programs = {"ours": stack.enter_context(closing(_ours(name, ranks, strategy, weights)))}
        if with_peer:
            programs["peer"] = stack.enter_context(closing(_peer(name, ranks, weights, folder)))
        first = {who: program.turn(steps=CHECKED) for who, program in programs.items()}
        turns = [_pair(programs, first, number) for number in range(pairs)]
    return _compare(name, ranks, strategy, first, turns)


def _ours(name: str, ranks: int, strategy: str, weights: str) -> Program:
    program = ["-m", "mpipar.bench.step_ours", name, str(ranks), weights, strategy]
    launcher = find_launcher()
    command = [sys.executable, *program] if ranks == 1 else launcher.command(ranks, program)
    return Program("mpipar", ranks, [command], launcher.environment(MPIPAR_TRACE="0"))


def _peer(name: str, ranks: int, weights: str, folder: Path) -> Program:
    program = [sys.executable, "-m", "mpipar.bench.peer_torch", name, str(ranks), weights]
    commands = [[*program, str(rank), str(folder / "meeting")] for rank in range(ranks)]
    return Program("torch", ranks, commands, {"OMP_NUM_THREADS": "1"})


def _pair(programs: dict[str, Program], first: dict[str, list], number: int) -> dict[str, float]:
    """Median seconds of a step, ours and the peer's, and of the products."""
    found = {}
    for who in list(programs)[:: 1 if number % 2 == 0 else -1]:
        steps = max(3, int(SECONDS / statistics.median(first[who][0]["times"])))
        found[who] = statistics.median(programs[who].turn(steps=steps)[0]["times"])
    count = max(3, int(0.3 * SECONDS / found["ours"]))
    found["limit"] = statistics.median(programs["ours"].turn(products=count)[0]["times"])
    return found


def _compare(name: str, ranks: int, strategy: str, first: dict, turns: list[dict]) -> dict[str, Any]:
    work = WORKLOADS[name]
    row = {
        "workload": name,
        "about": str(work),
        "ranks": ranks,
        "strategy": strategy,
        "ours": statistics.median(t["ours"] for t in turns),
        "limit": statistics.median(t["limit"] for t in turns),
        "share": statistics.median(t["limit"] / t["ours"] for t in turns),
        "share_target": work.share,
        "target": work.targets.get(ranks),
        "peak": _most(first["ours"], "peak"),
        "model": _most(first["ours"], "peak") - _most(first["ours"], "before"),
        "turns": turns,
    }
    if "peer" not in first:
        return row
    ratios = [t["peer"] / t["ours"] for t in turns]
    row |= {
        "peer": statistics.median(t["peer"] for t in turns),
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "apart": float(np.abs(_losses(first["ours"]) - _losses(first["peer"])).max()),
        "peer_peak": _most(first["peer"], "peak"),
        "peer_model": _most(first["peer"], "peak") - _most(first["peer"], "before"),
    }
    row["void"] = not row["apart"] <= AGREE
    return row


def _losses(answers: list[dict[str, Any]]) -> np.ndarray:
    return np.array([answer["losses"] for answer in answers])


def _most(answers: list[dict[str, Any]], what: str) -> int:
    return max(answer[what] or 0 for answer in answers)


def table(result: dict[str, Any]) -> Group:
    """A table a workload, a row for each number of ranks, and how to get the peer where there is none."""
    shown: list[Any] = []
    for about in dict.fromkeys(row["about"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["about"] == about]
        shown.append(_workload(about, rows, result["pairs"]))
    peer = result["peer"] or f"none; to get it: pip install {PEER}"
    shown.append(f"AdamW, float32; ratio: the peer's time over ours; peer: {peer}")
    if any(row["strategy"] == "zero1" for row in result["rows"]):
        shown.append(
            "ZeRO: stage 1, each rank steps its own piece; the peer's ranks step everything, as ours do else"
        )
    one, two = (readable_time(result["graph"][name]) for name in ("relu", "mul"))
    shown.append(f"the graph adds {one} to an operation of one parent, {two} of two, forward and backward")
    return Group(*shown)


def _workload(about: str, rows: list[dict[str, Any]], pairs: int) -> Table:
    title = f"{about} a rank"
    shown = Table(title=title, title_justify="left", box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    shown.collapse_padding = True
    names = ("ranks", "ours", "peer", "ratio", f"of {pairs} pairs", "target", "GEMM", "share", "target")
    for name in (*names, "peak", "peer's"):
        shown.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        times = [readable_time(row[what]) if what in row else "-" for what in ("ours", "peer")]
        limit = [readable_time(row["limit"]), f"{row['share']:.2f}", _goal(row["share_target"])]
        memory = [readable_bytes(row[what]) if what in row else "-" for what in ("peak", "peer_peak")]
        shown.add_row(
            f"{row['ranks']}{STRATEGIES.get(row['strategy'], '')}",
            *times,
            *_ratio(row),
            _goal(row["target"]),
            *limit,
            *memory,
        )
    return shown


def _ratio(row: dict[str, Any]) -> tuple[str, str]:
    if "ratio" not in row:
        return "-", ""
    if row["void"]:
        return "void", f"losses {row['apart']:.0e} apart"
    return f"{row['ratio']:.2f}", f"{row['least']:.2f} – {row['most']:.2f}"


def _goal(number: float | None) -> str:
    return "" if number is None else f"≥ {number:g}"
