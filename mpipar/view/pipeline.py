"""The bubble of a pipeline, measured and by its formula.

An action is a scope whose last name is stage, kind and micro-batch, as in 2F0: forward, backward,
weight gradients (W) or gradients of the input (I). Of one round (a batch), with P ranks:

    measured   1 - Σ busy / (P · span), busy: time in actions without waiting
    formula    (P - 1) / (v m + P - 1), with m micro-batches and v stages a rank

P is the number of ranks among which the stages are shared; replicas of the pipeline are averaged.

The formula is the share of the pipeline's time in which a rank stands idle, of GPipe (Huang et al.,
NeurIPS 2019) and 1F1B at v = 1, and interleaved 1F1B (Narayanan et al., SC 2021, who give it as
a part of the busy time: (P - 1) / (v m)). It holds for stages that take equally long and messages
that take no time; to schedules that split the backward pass (zero bubble) it does not apply.
"""

import re
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass

from mpipar.trace import Event, Trace
from mpipar.view.timeline import WAITING, State, states

ACTION = re.compile(r"(\d+)([FBWI])(\d+)")


@dataclass
class Bubble:
    """All rounds of one schedule, averaged.

    ranks: of all replicas;   virtual: the stages of a rank, v
    measured, formula: share of the pipeline's time, or None
    """

    schedule: str
    stages: int
    ranks: int
    virtual: int
    micro_batches: int
    rounds: int
    measured: float
    formula: float | None


def bubbles(trace: Trace, tiled: dict[int, list[State]] | None = None) -> list[Bubble]:
    """Of each schedule in the trace; [] where there is no pipeline.   tiled: its states, if known"""
    rounds: dict[tuple[str, int], list[tuple[int, Event]]] = defaultdict(list)
    for rank, of in sorted(trace.ranks.items()):
        seen: dict[str, int] = defaultdict(int)  # an action that comes again begins the next round
        for event in of.events:
            if event.op == "scope" and ACTION.fullmatch(event.scope.rpartition("/")[2]):
                rounds[_schedule(event.scope), seen[event.scope]].append((rank, event))
                seen[event.scope] += 1
    if not rounds:
        return []
    waiting = _Waiting(states(trace) if tiled is None else tiled)
    by_schedule: dict[str, list[list[tuple[int, Event]]]] = defaultdict(list)
    for (schedule, _), actions in sorted(rounds.items(), key=lambda item: item[0]):
        by_schedule[schedule].append(actions)
    return [_bubble(schedule, each, waiting) for schedule, each in by_schedule.items()]


def _schedule(scope: str) -> str:
    names = [name.removeprefix("pipeline ") for name in scope.split("/") if name.startswith("pipeline ")]
    return names[-1] if names else ""


def _bubble(schedule: str, rounds: list[list[tuple[int, Event]]], waiting: "_Waiting") -> Bubble:
    parts = [ACTION.fullmatch(event.scope.rpartition("/")[2]).groups() for _, event in rounds[0]]
    stages, micros = len({stage for stage, _, _ in parts}), len({micro for _, _, micro in parts})
    named = {(ACTION.fullmatch(e.scope.rpartition("/")[2])[1], rank) for rank, e in rounds[0]}
    ranks = len({rank for rank, _ in rounds[0]})
    shares = []
    for actions in rounds:
        busy = sum(event.end - event.start - waiting.within(rank, event) for rank, event in actions)
        span = max(event.end for _, event in actions) - min(event.start for _, event in actions)
        shares.append(1 - busy / (ranks * span) if span else 0.0)
    split = (
        any(kind in "WI" for _, kind, _ in parts) or "zb" in schedule.lower() or "zero" in schedule.lower()
    )
    of_ranks = {len({stage for stage, of in named if of == rank}) for _, rank in named}
    v = max(of_ranks)
    p = stages // v
    formula = None if split or len(of_ranks) > 1 or stages % v else (p - 1) / (v * micros + p - 1)
    return Bubble(schedule, stages, ranks, v, micros, len(rounds), sum(shares) / len(shares), formula)


class _Waiting:
    """How long a rank waited inside an event."""

    def __init__(self, tiled: dict[int, list[State]]) -> None:
        self._of = {rank: [state for state in own if state.kind == WAITING] for rank, own in tiled.items()}
        self._ends = {rank: [state.end for state in own] for rank, own in self._of.items()}

    def within(self, rank: int, event: Event) -> int:
        waited, own = 0, self._of[rank]
        for nth in range(bisect_right(self._ends[rank], event.start), len(own)):
            if own[nth].start >= event.end:
                break
            waited += min(own[nth].end, event.end) - max(own[nth].start, event.start)
        return waited
