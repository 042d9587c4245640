"""`mpipar bench trace`: what recording adds to a message, a collective, a scope and a training step.

Two ranks do the same without and with a recorder, in short batches that take turns in one job. Their
sums name an algorithm, for without a trace "auto" sends no messages, and is faster than both. A
traced batch ends with writing what it has recorded, which a run leaves to a thread that mostly works
while the rank waits: so the costs are upper bounds. Other programs can only make a batch slower: of
messages and scopes the fastest batch counts. Of the steps, which differ more, the median does.

message     both ranks send 8 B to each other at once: 2 events a rank
allreduce   of 8 B: an event, and 2 of its only hop
scope       `with world.scope(...)` around nothing: 1 event
module      a call of a module inside a model, which does nothing: 1 event
step        of data-parallel training: forward, backward, allreduce, AdamW
off         what the hook for recording adds to a call of a module where nothing is recorded
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from mpipar.arrays import asarray
from mpipar.bench.launch import launch
from mpipar.comm import Communicator, world
from mpipar.nn import MLP, Module
from mpipar.optim import AdamW
from mpipar.parallel import DataParallel
from mpipar.tensor import Tensor, cross_entropy
from mpipar.trace import Recorder, prepare_folder, record_here
from mpipar.view import readable_count, readable_time

EVENT, SHARE, OFF = 1e-6, 0.03, 1e-7  # s an event; of a step; s a call
LARGE, SMALL = "step of the large MLP", "step of the small MLP"
# widths, samples of a rank, steps of a batch
MODELS = {LARGE: ([784, 1024, 1024, 10], 128, 1), SMALL: ([64, 128, 64, 10], 32, 50)}
CAPTION = "large: 784-1024-1024-10, 128 samples a rank; small: 64-128-64-10, 32 samples a rank; AdamW"
EVENTS = {"message, 8 B": 2, "allreduce, 8 B": 3, "scope": 1, "module": 1}  # a call


def measure(jobs: int = 5, batches: int = 30, calls: int = 500, steps: int = 50) -> dict[str, Any]:
    """Launch so many jobs of two ranks.

    batches, calls: of messages and scopes, a job;   steps: of the large model, a job
    returns: {"jobs": [{what: {"off": s, "on": s, "events": a call}}, …], "summary": {what: {"off", "on",
        "cost": s an event or a call, or the share of a step; "least", "most", "target"}}}
    errors: LaunchError without a working mpirun
    """
    found = [launch("mpipar.bench.trace", batches, calls, steps, MPIPAR_TRACE="0") for _ in range(jobs)]
    return {"ranks": 2, "jobs": found, "summary": {what: summary(what, found) for what in found[0]}}


def summary(what: str, jobs: list[dict[str, Any]]) -> dict[str, float]:
    """The medians of one quantity over the jobs, and the range of its cost."""
    rows = [job[what] for job in jobs]
    off, on = (statistics.median(row[side] for row in rows) for side in ("off", "on"))
    if what in MODELS:
        cost, target = [(row["on"] - row["off"]) / row["off"] for row in rows], SHARE
    else:
        cost = [(row["on"] - row["off"]) / EVENTS.get(what, 1) for row in rows]
        target = EVENT if what in EVENTS else OFF
    return {
        "off": off,
        "on": on,
        "events": rows[0]["events"],
        "cost": statistics.median(cost),
        "least": min(cost),
        "most": max(cost),
        "target": target,
    }


# ---- what a job does
class Nothing(Module):
    """Returns what it is given."""

    def forward(self, x: Any) -> Any:
        return x


class Model(Module):
    """Calls a module so many times."""

    def __init__(self, calls: int) -> None:
        self.inner, self._calls = Nothing(), calls

    def forward(self, x: Any) -> None:
        for _ in range(self._calls):
            self.inner(x)


class Bench:
    """The same work on two communicators: `comms[False]` records nothing, `comms[True]` all."""

    def __init__(self, comm: Communicator, folder: Path) -> None:
        if comm.rank == 0:
            prepare_folder(folder, {"size": comm.size})
        comm.barrier()
        # a thread that never comes to write, because each batch does
        self.recorder = Recorder(folder, comm.rank, comm.size, flush_seconds=1e6)
        plain, other = comm.split(0), comm.split(0)
        traced = Communicator(other._transport, self.recorder, "traced", comm.network, other.nodes)
        self.comms = plain, traced

    def timed(self, work: Callable[[Communicator], None], is_traced: bool) -> float:
        """Seconds of work(comm), with or without recording."""
        comm = self.comms[is_traced]
        record_here(comm.recorder)
        self.comms[False].barrier()
        start = time.perf_counter()
        work(comm)
        if is_traced:
            self.recorder.flush()
        seconds = time.perf_counter() - start
        record_here(None)
        return seconds

    def events(self, work: Callable[[Communicator], None]) -> int:
        """How many events of this rank the work makes."""
        first = self.recorder.begin()
        self.timed(work, True)
        return self.recorder.begin() - first - 1

    def compare(
        self, works: dict[str, Callable], batches: int, typical: Callable
    ) -> dict[str, dict[str, float]]:
        """Seconds of each work: what is typical of so many batches without and with recording."""
        times = {what: ([], []) for what in works}
        for batch in range(2 * batches):
            is_traced = batch % 4 in (1, 2)  # off on on off, so that neither is always first
            for what, work in works.items():
                times[what][is_traced].append(self.timed(work, is_traced))
        return {
            what: {**dict(zip(("off", "on"), typical(*of), strict=True)), "events": self.events(works[what])}
            for what, of in times.items()
        }


def fastest(off: list[float], on: list[float]) -> tuple[float, float]:
    return min(off), min(on)


def paired(off: list[float], on: list[float]) -> tuple[float, float]:
    """The median without, and that plus the median of what was added from one batch to the next."""
    usual = statistics.median(off)
    return usual, usual + statistics.median(b - a for a, b in zip(off, on, strict=True))


def _messages(calls: int) -> dict[str, Callable[[Communicator], None]]:
    x, out, model = np.zeros(1), np.zeros(1), Model(calls)

    def message(comm: Communicator) -> None:
        for _ in range(calls):
            comm.sendrecv(x, 1 - comm.rank, 1 - comm.rank, out=out)

    def allreduce(comm: Communicator) -> None:
        for _ in range(calls):
            comm.allreduce(x, algorithm="recursive_doubling", out=x)

    def scope(comm: Communicator) -> None:
        for _ in range(calls):
            with comm.scope("nothing"):
                pass

    return dict(zip(EVENTS, (message, allreduce, scope, lambda comm: model(x)), strict=True))


def _training(bench: Bench, widths: list[int], batch: int, steps: int) -> Callable[[Communicator], None]:
    source = np.random.default_rng(0)
    x = Tensor(asarray(source.random((batch, widths[0]), np.float32)))
    y = asarray(source.integers(0, widths[-1], batch))
    model = MLP(widths, seed=0)
    optimizer = AdamW(model.parameters())
    replicas = {comm: DataParallel(model, comm, algorithm="recursive_doubling") for comm in bench.comms}

    def train(comm: Communicator) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            cross_entropy(replicas[comm](x), y).backward()
            replicas[comm].average_gradients()
            optimizer.step()

    return train


def _hook(batches: int, calls: int) -> dict[str, float]:
    """A call of a module against the same call without the hook, where nothing is recorded."""

    class Bare(Nothing):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return self.forward(*args, **kwargs)

    times: dict[type, list[float]] = {Bare: [], Nothing: []}
    for _ in range(batches):
        for kind, taken in times.items():
            module, start = kind(), time.perf_counter()
            for _ in range(calls):
                module(None)
            taken.append((time.perf_counter() - start) / calls)
    return {"off": min(times[Bare]), "on": min(times[Nothing]), "events": 0}


def _of_one(row: dict[str, float], calls: int) -> dict[str, float]:
    return {name: number / calls for name, number in row.items()}


def main() -> None:
    """Arguments: batches, calls, steps. Rank 0 prints the result as JSON."""
    batches, calls, steps = map(int, sys.argv[1:4])
    comm = world()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(comm, Path(folder))
        rows = bench.compare(_messages(calls), batches, fastest)
        found = {what: _of_one(row, calls) for what, row in rows.items()}
        for what, (widths, batch, at_once) in MODELS.items():
            work = _training(bench, widths, batch, at_once)
            row = bench.compare({what: work}, steps, paired)[what]
            found[what] = _of_one(row, at_once)
        found["off: hook of a module"] = _hook(batches, calls)
        bench.recorder.close()
        comm.barrier()
    if comm.rank == 0:
        print(json.dumps(found))


def table(result: dict[str, Any]) -> Table:
    """A row a quantity: medians of the jobs without and with recording, and what it adds."""
    jobs = readable_count(len(result["jobs"]), "job")
    title = f"The cost of a trace, an event or of a step: medians of {jobs} of 2 ranks"
    looks = {"title_justify": "left", "caption_justify": "left", "box": SIMPLE_HEAD, "pad_edge": False}
    shown = Table(title=title, caption=CAPTION, header_style="bold", **looks)
    shown.add_column("")
    for column in ("off", "on", "events", "cost", "least", "most", "target", "met"):
        shown.add_column(column, justify="right")
    for what, row in result["summary"].items():
        costs = [_cost(what, row[name]) for name in ("cost", "least", "most", "target")]
        met = "yes" if row["cost"] <= row["target"] else "no"
        shown.add_row(what, *map(readable_time, (row["off"], row["on"])), f"{row['events']:.0f}", *costs, met)
    return shown


def _cost(what: str, cost: float) -> str:
    return f"{cost:.1%}" if what in MODELS else f"{1e6 * cost:.2f} µs"


if __name__ == "__main__":
    main()
