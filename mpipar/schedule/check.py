"""Whether a schedule can run, and what it holds, before anything runs.

1. complete   every stage runs every micro-batch once: F and B, or F, I and W; a stage is on one rank
2. in order   no rank runs an action before one of its own that it needs
3. no deadlock   all ranks, each running its row in order, come to their ends
4. memory     no rank holds more activations than allowed

Sends are nonblocking (see lowering.py). Then a rank waits only for a result that is not computed yet,
so 3 is exact: it runs the rows once, and which rank goes first changes nothing. O(actions).
"""

from collections.abc import Iterator
from typing import NamedTuple

from mpipar.errors import ScheduleError
from mpipar.schedule.actions import Action, Schedule, needs, progress, result


class Fault(NamedTuple):
    """text: what is wrong and what to do;   marks: (rank, place in its row) of the actions concerned

    absent: what should stand at the mark, which is then the end of the row
    """

    text: str
    marks: tuple[tuple[int, int], ...]
    absent: Action | None = None


def check(schedule: Schedule, limit: int | None = None) -> None:
    """Nothing, if the schedule is right;   limit: the most activations that a rank may hold

    errors: ScheduleError with the first fault
    """
    fault = find_fault(schedule, limit)
    if fault:
        raise ScheduleError(f"{schedule.name}: {fault.text}")


def find_fault(schedule: Schedule, limit: int | None = None) -> Fault | None:
    """The first fault, None where there is none."""
    for faults in (_duplicated, _misplaced, _missing, _out_of_order, _deadlock):
        for fault in faults(schedule):
            return fault
    return None if limit is None else next(_too_much(schedule, limit), None)


def peaks(schedule: Schedule) -> list[int]:
    """Activations that each rank holds at most: of a (stage, micro-batch) from its F to its B or W."""
    return [max(_held(row), default=0) for row in schedule.rows]


def _held(row: tuple[Action, ...]) -> Iterator[int]:
    held = 0
    for action in row:
        held += action.kind == "F"
        yield held
        held -= action.kind in "BW"


def _duplicated(schedule: Schedule) -> Iterator[Fault]:
    """An action twice, or a backward both whole and split."""
    places: dict[Action, tuple[int, int]] = {}
    for rank, place, action in _all(schedule):
        if action in places:
            twice = (places[action], (rank, place))
            where = " and as ".join(f"rank {r}'s action {p + 1}" for r, p in twice)
            yield Fault(f"{action} runs twice, as {where}; delete one", twice)
        places[action] = rank, place
        for other in ("I", "W") if action.kind == "B" else "B" if action.kind in "IW" else ():
            split = action._replace(kind=other)
            if split in places:
                text = f"{split} and {action} both run, but a backward is whole (B) or split (I, then W); "
                yield Fault(text + "delete one of the two kinds", (places[split], (rank, place)))


def _misplaced(schedule: Schedule) -> Iterator[Fault]:
    """A stage on two ranks."""
    homes: dict[int, tuple[int, int, Action]] = {}
    for rank, place, action in _all(schedule):
        home, first, example = homes.setdefault(action.stage, (rank, place, action))
        if home != rank:
            yield Fault(
                f"stage {action.stage} is on rank {home} ({example}) and on rank {rank} ({action}); "
                "keep a stage on one rank",
                ((home, first), (rank, place)),
            )


def _missing(schedule: Schedule) -> Iterator[Fault]:
    """An action that the others imply."""
    present, rank_of = set(schedule), schedule.rank_of
    for stage in range(schedule.stages):
        if stage not in rank_of:
            last = schedule.stages - 1
            yield Fault(f"stage {stage} is on no rank, but stage {last} is; add the actions of {stage}", ())
            continue
        rank = rank_of[stage]
        kinds = "FIW" if any(a.stage == stage and a.kind in "IW" for a in schedule.rows[rank]) else "FB"
        for micro in range(schedule.micros):
            whole = kinds == "FIW" and Action(stage, "B", micro) in present
            for kind in "FB" if whole else kinds:
                action = Action(stage, kind, micro)
                if action not in present:
                    place = len(schedule.rows[rank])
                    yield Fault(f"rank {rank} never runs {action}; add it", ((rank, place),), action)


def _out_of_order(schedule: Schedule) -> Iterator[Fault]:
    """An action before one of the same rank that it needs."""
    stages = schedule.stages
    for rank, row in enumerate(schedule.rows):
        places = {result(action): place for place, action in enumerate(row)}
        for place, action in enumerate(row):
            for need in needs(action, stages):
                if places.get(need, place) > place:
                    late = row[places[need]]
                    text = f"rank {rank} runs {action} before {late}, which it needs; run {late} first"
                    yield Fault(text, ((rank, place), (rank, places[need])))


def _deadlock(schedule: Schedule) -> Iterator[Fault]:
    """Ranks that wait for each other; all actions are there, so whoever is stuck leads to a circle."""
    stuck = progress(schedule).stuck
    if not stuck:
        return
    rank_of, circle, rank = schedule.rank_of, [], min(stuck)
    while rank not in circle:
        circle.append(rank)
        rank = rank_of[stuck[rank][1].stage]
    circle = circle[circle.index(rank) :]
    waits = []
    for rank in circle:
        place, need = stuck[rank]
        other = rank_of[need.stage]
        made = next(action for action in schedule.rows[other] if result(action) == need)
        blocker = schedule.rows[other][stuck[other][0]]
        behind = "" if blocker == made else f", which rank {other} runs after {blocker}"
        waits.append(f"rank {rank} waits at {schedule.rows[rank][place]} for {made}{behind}")
    text = f"deadlock: {'; '.join(waits)}; move one of them before the action it stands behind"
    yield Fault(text, tuple((rank, stuck[rank][0]) for rank in circle))


def _too_much(schedule: Schedule, limit: int) -> Iterator[Fault]:
    for rank, row in enumerate(schedule.rows):
        for place, held in enumerate(_held(row)):
            if held > limit:
                text = f"rank {rank} holds {held} activations at {row[place]}, and may hold {limit}; "
                yield Fault(text + "run a backward before it", ((rank, place),))


def _all(schedule: Schedule) -> Iterator[tuple[int, int, Action]]:
    return ((rank, place, a) for rank, row in enumerate(schedule.rows) for place, a in enumerate(row))
