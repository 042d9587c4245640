"""When each action runs, given what each takes: no run needed.

    start(a) = max(end of the rank's action before a,  max over needs n of end(n) + latency(n))

latency(n) is Tcomm if another rank computes n, else 0: pure latency, links are never busy.
A fused backward B takes TB + TW, and its gradient leaves at the end of it. A rank with v stages
gives each of them 1/v of its times.

    cost        = max over ranks of (own last end - own first start)
    bubble rate = (cost - m (TF + TB + TW))/cost

as in Zero Bubble (Qi et al., ICLR 2024), whose Tables 5 and 6 the tests reproduce.
"""

from typing import NamedTuple

from mpipar.errors import OptionError
from mpipar.schedule.actions import Action, Schedule, needs, progress, result
from mpipar.schedule.check import check


class Times(NamedTuple):
    """Of one micro-batch on one rank, in any unit: forward, dx, dw, and a message's latency."""

    TF: float
    TB: float
    TW: float
    Tcomm: float = 0.0


class Span(NamedTuple):
    action: Action
    start: float
    end: float


class Timeline(NamedTuple):
    """rows[r]: the spans of rank r;   work: m (TF + TB + TW)"""

    rows: list[list[Span]]
    work: float

    @property
    def makespan(self) -> float:
        """From the first start to the last end of all ranks."""
        return max(row[-1].end for row in self.rows if row)

    @property
    def cost(self) -> float:
        return max(row[-1].end - row[0].start for row in self.rows if row)

    @property
    def bubble_rate(self) -> float:
        return (self.cost - self.work) / self.cost


def timeline(schedule: Schedule, times: Times) -> Timeline:
    """The timeline of a schedule.

    errors: OptionError for a time below 0 or no time at all; ScheduleError for a schedule that
    `check` refuses
    """
    times = Times(*times)
    if not all(0 <= t < float("inf") for t in times) or not any(times[:3]):
        raise OptionError(f"times {', '.join(f'{t:g}' for t in times)}: give none below 0, and not all 0")
    check(schedule)
    return timeline_so_far(schedule, times)


def timeline_so_far(schedule: Schedule, times: Times) -> Timeline:
    """The timeline of what can run, also of a schedule that deadlocks."""
    stages, rank_of = schedule.stages, schedule.rank_of
    takes = {"F": times.TF, "B": times.TB + times.TW, "I": times.TB, "W": times.TW}
    rows: list[list[Span]] = [[] for _ in schedule.rows]
    ended: dict[Action, float] = {}
    share = [len({action.stage for action in row}) for row in schedule.rows]
    for rank, action in progress(schedule).order:
        start = rows[rank][-1].end if rows[rank] else 0.0
        for need in needs(action, stages):
            start = max(start, ended[need] + times.Tcomm * (rank_of[need.stage] != rank))
        end = start + takes[action.kind] / share[rank]
        ended[result(action)] = end
        rows[rank].append(Span(action, start, end))
    return Timeline(rows, schedule.micros * (times.TF + times.TB + times.TW))


def unit_times(schedule: Schedule) -> Times:
    """Times by which each action takes one step; where B and I both occur, B takes two."""
    virtual = max(len({action.stage for action in row}) for row in schedule.rows)
    backward = 1.0 if any(action.kind in "IW" for action in schedule) else 0.5
    return Times(virtual, backward * virtual, backward * virtual)
