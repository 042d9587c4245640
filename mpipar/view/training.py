"""Figures of a run: what each rank's time went into, load balance, overlap, steps, speed-up.

load balance  L = max / avg of the ranks' computing times, 1 where all compute as long. Its
              inverse is the load balance of the POP metrics (Wagner, Mohr, Giménez & Labarta,
              Tools for High Performance Computing 2017); DeRose, Homer & Johnson ("Detecting
              application load imbalance on high end massively parallel systems", Euro-Par
              2007) tell the same difference as (max - avg) / max · p / (p - 1).
overlap       time in which messages of isend and irecv were under way while the rank computed,
              over the time in which any message was under way. A message counts as under way
              until the rank has seen that it is complete, so this is an upper bound.
speed-up      S = T(1) / T(p), efficiency S / p, of the time a step where both runs have steps
"""

from dataclasses import dataclass
from itertools import chain
from typing import Any

from mpipar.errors import TraceError
from mpipar.trace import RankTrace, Trace
from mpipar.view.blocking import Stay, stays
from mpipar.view.timeline import COMPUTE, WAITING, State, spans, states

Interval = tuple[int, int]


@dataclass
class Activity:
    """What one rank's time went into, ns.

    exposed: in calls that block;   waiting: the part of it in which another rank was late
    under_way: time with messages under way;   overlapped: the part of it in which the rank computed
    peak_memory: bytes, by where: "host", "device"; empty where the run did not record it
    """

    rank: int
    span: int
    compute: int
    exposed: int
    waiting: int
    under_way: int
    overlapped: int
    peak_memory: dict[str, int]

    @property
    def overlap(self) -> float | None:
        return self.overlapped / self.under_way if self.under_way else None


def activities(trace: Trace, tiled: dict[int, list[State]] | None = None) -> list[Activity]:
    """Rank by rank, without ranks that have no event.   tiled: the trace's states, if known"""
    tiled = states(trace) if tiled is None else tiled
    calls = stays(trace)
    return [
        _activity(rank, end - start, trace.ranks[rank], tiled[rank], calls[rank])
        for rank, (start, end) in spans(trace).items()
    ]


def load_balance(of_ranks: list[Activity]) -> float | None:
    """max / avg of the computing times;   None where nobody computed"""
    total = sum(a.compute for a in of_ranks)
    return max(a.compute for a in of_ranks) * len(of_ranks) / total if total else None


def overlap(of_ranks: list[Activity]) -> float | None:
    """Of all ranks together;   None where no message was ever under way."""
    under_way = sum(a.under_way for a in of_ranks)
    return sum(a.overlapped for a in of_ranks) / under_way if under_way else None


def run_seconds(trace: Trace) -> float:
    """From the first event of any rank to the last end."""
    own = spans(trace).values()
    return (max(end for _, end in own) - min(start for start, _ in own)) / 1e9 if own else 0.0


def steps(trace: Trace) -> tuple[int, float]:
    """How many training steps there are, and seconds a step: their whole stretch by their number."""
    inside = [(e.step, e.start, e.end) for of in trace.ranks.values() for e in of.events if e.step >= 0]
    if not inside:
        return 0, 0.0
    count = len({step for step, _, _ in inside})
    stretch = max(end for _, _, end in inside) - min(start for _, start, _ in inside)
    return count, stretch / 1e9 / count


def speed_up(trace: Trace, serial: Trace) -> dict[str, Any]:
    """T(1) / T(p) and that over p, for ranks p.

    compared: "time a step" where both have steps, else "whole run"
    errors: TraceError where the serial trace has several ranks, or either has no time in it
    """
    if serial.size != 1:
        raise TraceError(
            f"the serial trace {serial.folder} has {serial.size} ranks; record the run with -n 1 for --serial"
        )
    (own_steps, own), (serial_steps, before) = steps(trace), steps(serial)
    by_step = bool(own_steps and serial_steps)
    if not by_step:
        own, before = run_seconds(trace), run_seconds(serial)
    for seconds, of in ((own, trace), (before, serial)):
        if not seconds:
            raise TraceError(f"the trace {of.folder} has no time in it to compare; record a run with events")
    gain = before / own
    return {
        "compared": "time a step" if by_step else "whole run",
        "seconds": own,
        "serial_seconds": before,
        "speed_up": gain,
        "efficiency": gain / trace.size,
    }


def _activity(rank: int, span: int, of: RankTrace, own: list[State], calls: list[Stay]) -> Activity:
    compute = sum(state.length for state in own if state.kind == COMPUTE)
    waiting = sum(state.length for state in own if state.kind == WAITING)
    blocked = [(stay.start, stay.end) for stay in calls if stay.event.op != "copy"]
    loose = [(e.start, e.end) for e in of.events if e.op in ("isend", "irecv")]
    computing = [(state.start, state.end) for state in own if state.kind == COMPUTE]
    under_way = length(chain(blocked, loose))
    overlapped = length(loose) + length(computing) - length(chain(loose, computing))
    peak: dict[str, int] = {}
    for event in of.events:
        if event.op == "memory":
            peak[event.algorithm] = max(event.bytes, peak.get(event.algorithm, 0))
    return Activity(rank, span, compute, span - compute, waiting, under_way, overlapped, peak)


def length(intervals: Any) -> int:
    """ns that at least one of the intervals covers."""
    covered, until = 0, None
    for start, end in sorted(intervals):
        if until is None or start > until:
            until = start
        if end > until:
            covered, until = covered + end - until, end
    return covered
