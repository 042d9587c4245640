"""The critical path of a run: the chain of work, across ranks, that nothing else delayed (Böhme, de
Supinski, Geimer, Schulz & Wolf, "Scalable critical-path based performance analysis", IPDPS 2012).

The walk goes backward from where the last rank ended. While that rank computed or communicated,
the path is on it; where it waited, the path is on the rank that it waited for. So the path has no
waiting in it, is as long as the run, and to shorten the run something on it has to get faster.

Cost: one bisection a segment.
"""

from bisect import bisect_left
from typing import NamedTuple

from mpipar.trace import Trace
from mpipar.view.timeline import COMPUTE, WAITING, State, states

UNSEEN = "before its first event"


class Segment(NamedTuple):
    """A stretch of the path.   start, end: ns;   what: "compute", or the call;   scope: of both"""

    rank: int
    start: int
    end: int
    what: str
    site: str = ""
    scope: str = ""

    @property
    def length(self) -> int:
        return self.end - self.start


def critical_path(trace: Trace, tiled: dict[int, list[State]] | None = None) -> list[Segment]:
    """Segments in order of time, which tile the run from its first event to its last end.

    tiled: the trace's states, if known;   returns: [] for a trace without time in it
    """
    tiled = states(trace) if tiled is None else tiled
    tiled = {rank: own for rank, own in tiled.items() if own}
    if not tiled:
        return []
    starts = {rank: [state.start for state in own] for rank, own in tiled.items()}
    begin = min(own[0].start for own in tiled.values())
    rank = max(tiled, key=lambda r: tiled[r][-1].end)
    time, path, been = tiled[rank][-1].end, [], {rank}
    while time > begin:
        nth = bisect_left(starts[rank], time) - 1  # the state that the rank came out of
        if nth < 0:
            path.append(Segment(rank, begin, time, UNSEEN))
            break
        state = tiled[rank][nth]
        culprit = rank if state.wait is None else state.wait.culprit
        if culprit in tiled and culprit not in been:
            rank = culprit
            been.add(rank)  # two that wait for each other, by clocks that disagree, do not hold us
            continue
        path.append(_segment(rank, state, time))
        time, been = state.start, {rank}
    return path[::-1]


def _segment(rank: int, state: State, until: int) -> Segment:
    if state.kind == COMPUTE or state.event is None:
        return Segment(rank, state.start, until, COMPUTE, scope=state.label)
    what = f"waiting in {state.label}" if state.kind == WAITING else state.label
    return Segment(rank, state.start, until, what, state.event.site, state.event.scope)
