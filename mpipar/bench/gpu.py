"""`mpipar bench gpu`: training steps on one GPU, against PyTorch eager on the same GPU.

A workload on one rank is compared with PyTorch, once with TF32 products on both sides and once without:
the programs take turns, and first their losses have to agree, else the row is void. The workload on
several ranks shares the GPU and sends its gradients through pinned host memory: hop by hop ("ring") or
in pieces whose copies run beside messages ("staged"), after backward or during it ("overlap"). In what
part of the step the rank was held up by copies is read from the trace.

On `fake`, which stands for a GPU and computes on the host, times mean nothing. What counts there are the
copies and the waits of the host for the device: inside a step of one rank there is to be none (in a
dozen steps that nobody waits for there may be one, for the checks put off in arrays/deferred.py).
"""

import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from mpipar.arrays import BACKEND, describe
from mpipar.bench.step import PEER, find_peer
from mpipar.bench.turns import Program
from mpipar.bench.workloads import GPT
from mpipar.bench.workloads import WORKLOADS as ON_CORES
from mpipar.comm import find_launcher
from mpipar.errors import BackendError, OptionError
from mpipar.view import readable_bytes, readable_time

WORKLOADS = {**ON_CORES, "large": GPT(12, 768, 12, 1024, 256, 8, {})}
USUAL = {"cupy": "mlp,small,gpt,large", "fake": "small"}
TARGET = 0.9  # PyTorch's time over ours
AGREE = {False: 1e-4, True: 1e-2}  # how far losses may differ, without and with TF32
WARM = 3  # steps before any is counted
ALONE = ("", "")
SHARING = {  # the sums of several ranks -> (strategy, algorithm) of DataParallel
    "ring": ("bucketed", "ring"),
    "staged": ("bucketed", "staged_ring"),
    "overlap ring": ("overlap", "ring"),
    "overlap staged": ("overlap", "staged_ring"),
}


def measure(
    names: Sequence[str], ranks: Sequence[int] = (1, 2, 4), steps: int = 10, pairs: int = 7
) -> dict[str, Any]:
    """A row for each workload, number of ranks and TF32 or way to sum.

    returns: {"backend", "device", "steps", "peer": "torch 2.13.0" or None, "rows": [{"workload", "ranks",
        "sums", "tf32", "ours": s, "counts", "copies", "share", …}, …]}: of a step, see gpu_ours.turn
    errors: BackendError without a GPU, unless the backend is fake; OptionError; LaunchError
    """
    if BACKEND == "numpy":
        raise BackendError(
            "bench gpu: CuPy is not installed or sees no GPU; install it with pip install 'mpipar[cuda12]' "
            "(or cuda13), or count copies and waits with MPIPAR_BACKEND=fake"
        )
    for name in names:
        if name not in WORKLOADS:
            raise OptionError(f"bench gpu: no workload {name!r}; choose from {', '.join(WORKLOADS)}")
    peer = _peer_on_gpu() if BACKEND == "cupy" else None
    rows = [_row(*case, steps, pairs, peer is not None) for name in names for case in _cases(name, ranks)]
    return {"backend": BACKEND, "device": describe(), "steps": steps, "peer": peer, "rows": rows}


def _cases(name: str, ranks: Sequence[int]) -> list[tuple[str, int, str, bool]]:
    """(workload, ranks, sums, TF32)"""
    alone = [(name, 1, "", tf32) for tf32 in ((True, False) if BACKEND == "cupy" else (False,))]
    several = [(name, p, sums, False) for p in ranks if p > 1 for sums in SHARING]
    return [*(alone if 1 in ranks else []), *several]


def _peer_on_gpu() -> str | None:
    """PyTorch and its version where it sees the GPU."""
    if find_peer() is None:
        return None
    import torch

    return find_peer() if torch.cuda.is_available() else None


def _row(
    name: str, ranks: int, sums: str, tf32: bool, steps: int, pairs: int, with_peer: bool
) -> dict[str, Any]:
    from mpipar.bench.step_ours import build

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        weights = str(folder / "weights.npz")
        np.savez(weights, **build(WORKLOADS[name]).state_dict())
        programs = {"ours": stack.enter_context(closing(_ours(name, ranks, sums, tf32, weights, folder)))}
        if with_peer and ranks == 1:
            program = [sys.executable, "-m", "mpipar.bench.gpu_torch", name, weights, str(int(tf32))]
            programs["peer"] = stack.enter_context(closing(Program("torch", 1, [program], {})))
        first = {who: program.turn(steps=WARM) for who, program in programs.items()}
        turns = [{who: p.turn(steps=steps)[0] for who, p in programs.items()} for _ in range(pairs)]
    row = {"workload": name, "ranks": ranks, "sums": sums, "tf32": tf32, **summary(turns)}
    return row | (_agreement(first, tf32) if "peer" in first else {})


def _ours(name: str, ranks: int, sums: str, tf32: bool, weights: str, folder: Path) -> Program:
    program = ["-m", "mpipar.bench.gpu_ours", name, str(ranks), weights, *SHARING.get(sums, ALONE)]
    launcher = find_launcher()
    command = [sys.executable, *program] if ranks == 1 else launcher.command(ranks, program)
    trace = "0" if ranks == 1 else str(folder / "trace")
    environment = launcher.environment(MPIPAR_TRACE=trace, CUPY_TF32=str(int(tf32)))
    return Program("mpipar", ranks, [command], environment)


def summary(turns: list[dict[str, dict]]) -> dict[str, Any]:
    """Medians over turns of rank 0's steps; counts and copies of the last turn."""
    ours = [turn["ours"]["seconds"] for turn in turns]
    last = turns[-1]["ours"]
    row = {"ours": statistics.median(ours), "counts": last["counts"], "copies": last["copies"]}
    if last["copies"] is not None:
        row["share"] = statistics.median(t["ours"]["copies"]["seconds"] / t["ours"]["seconds"] for t in turns)
    if "peer" in turns[0]:
        ratios = [turn["peer"]["seconds"] / turn["ours"]["seconds"] for turn in turns]
        row["peer"] = statistics.median(turn["peer"]["seconds"] for turn in turns)
        row |= {
            "ratio": statistics.median(ratios),
            "least": min(ratios),
            "most": max(ratios),
            "target": TARGET,
        }
    return row


def _agreement(first: dict[str, list[dict]], tf32: bool) -> dict[str, Any]:
    mine, theirs = first["ours"][0]["losses"], first["peer"][0]["losses"]
    apart = float(np.abs(np.subtract(mine, theirs)).max())  # nan where a loss is, which is not agreement
    return {"apart": apart, "void": not apart <= AGREE[tf32]}


def table(result: dict[str, Any]) -> Table:
    """A row a workload, number of ranks and TF32 or way to sum."""
    title = f"Training steps on {result['device']}; peer: {result['peer'] or 'none'}"
    shown = Table(title=title, title_justify="left", box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    shown.collapse_padding = True
    on_fake = result["backend"] == "fake"
    shown.add_column("workload")
    shown.add_column("")
    for column in _columns(on_fake):
        shown.add_column(column, justify="right", no_wrap=True)
    for row in result["rows"]:
        kind = row["sums"] or ("TF32" if row["tf32"] else "float32")
        cells = _counted(row) if on_fake else _timed(row)
        shown.add_row(row["workload"], kind, str(row["ranks"]), *cells)
    if on_fake:
        shown.caption = (
            "counts of one step; times on a GPU are open: fake computes on the host. staged: two waits a\n"
            "piece, but for the first piece's each is for a copy started before the sum of another"
        )
    elif result["peer"] is None:
        shown.caption = f"without a peer; to get it: {PEER.split()[0]} for CUDA"
    else:
        shown.caption = "void: losses of the first steps are too far apart; copying: held up by copies"
    shown.caption_justify = "left"
    return shown


def _columns(on_fake: bool) -> tuple[str, ...]:
    if on_fake:
        return "ranks", "to device", "to host", "waits", "staged copies", "bytes staged", "met"
    return "ranks", "ours", "peer", "ratio", "of pairs", "bytes staged", "copying", "met"


def _counted(row: dict[str, Any]) -> list[str]:
    counts = [row["counts"].get(what, 0) for what in ("host to device", "device to host", "wait")]
    met = "" if row["ranks"] > 1 else "no" if any(counts) else "yes"
    return [*(f"{count:g}" for count in counts), *_staged(row), met]


def _staged(row: dict[str, Any]) -> list[str]:
    copies = row["copies"]
    return ["-", "-"] if copies is None else [f"{copies['number']:g}", readable_bytes(copies["bytes"])]


def _timed(row: dict[str, Any]) -> list[str]:
    staged = [_staged(row)[1], f"{row['share']:.0%}" if "share" in row else "-"]
    if "ratio" not in row:
        return [readable_time(row["ours"]), "-", "-", "", *staged, ""]
    times = [readable_time(row["ours"]), readable_time(row["peer"])]
    if row["void"]:
        return [*times, "void", f"{row['apart']:.0e} apart", *staged, "no"]
    pairs = f"{row['least']:.2f} – {row['most']:.2f}"
    return [*times, f"{row['ratio']:.2f}", pairs, *staged, "yes" if row["ratio"] >= row["target"] else "no"]
