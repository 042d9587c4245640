"""A pipeline schedule as data: for each rank, the list of what it computes, in order.

A model is cut into stages, a batch into micro-batches. Of each micro-batch a stage computes

    F   forward                 needs F of the stage before
    B   backward, whole         needs its own F, and the gradient (B or I) of the stage behind
    I   backward, dx alone      needs what B needs; gives the stage before its gradient
    W   backward, dw alone      needs its own I; nobody waits for it

so either F and B, or F, I and W. (The zero-bubble papers call I "B": here B is always whole.)
An action prints as `2F0`: stage 2, forward, micro-batch 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

KINDS = "FBIW"


class Action(NamedTuple):
    """Compute `kind` of micro-batch `micro` on stage `stage`."""

    stage: int
    kind: str
    micro: int

    def __str__(self) -> str:
        return f"{self.stage}{self.kind}{self.micro}"


@dataclass(frozen=True)
class Schedule:
    """rows[r]: the actions of rank r, in the order in which it runs them.

    A schedule may be wrong; `mpipar.schedule.check` says whether it is.
    """

    name: str
    rows: tuple[tuple[Action, ...], ...]

    @property
    def ranks(self) -> int:
        return len(self.rows)

    @cached_property
    def stages(self) -> int:
        return 1 + max((action.stage for action in self), default=-1)

    @cached_property
    def micros(self) -> int:
        return 1 + max((action.micro for action in self), default=-1)

    @cached_property
    def rank_of(self) -> dict[int, int]:
        """stage -> its rank"""
        return {action.stage: rank for rank, row in enumerate(self.rows) for action in row}

    def __iter__(self) -> Iterator[Action]:
        return (action for row in self.rows for action in row)


def result(action: Action) -> Action:
    """What others wait for: the same of B and I, the gradient of the stage's input."""
    return action._replace(kind="B") if action.kind == "I" else action


def needs(action: Action, stages: int) -> list[Action]:
    """The results (see `result`) that an action starts from, of its own stage first."""
    stage, kind, micro = action
    if kind == "F":
        return [Action(stage - 1, "F", micro)] if stage else []
    if kind == "W":
        return [Action(stage, "B", micro)]
    behind = [Action(stage + 1, "B", micro)] if stage < stages - 1 else []
    return [Action(stage, "F", micro), *behind]


class Progress(NamedTuple):
    """order: (rank, action) as they can be run;   stuck: rank -> (place in its row, what it lacks)"""

    order: list[tuple[int, Action]]
    stuck: dict[int, tuple[int, Action]]


def progress(schedule: Schedule) -> Progress:
    """Run every rank as far as it comes, in O(actions).

    A rank stops at the first action that needs what nobody has computed, and goes on once somebody has.
    """
    stages, done, order = schedule.stages, set(), []
    place, waiting = [0] * schedule.ranks, {}  # waiting: result -> the ranks that lack it
    ready = list(range(schedule.ranks))
    while ready:
        rank = ready[-1]
        action = schedule.rows[rank][place[rank]] if place[rank] < len(schedule.rows[rank]) else None
        lacking = [need for need in needs(action, stages) if need not in done] if action else []
        if lacking:
            waiting.setdefault(lacking[0], []).append(rank)
        if lacking or action is None:
            ready.pop()
            continue
        order.append((rank, action))
        done.add(result(action))
        place[rank] += 1
        ready = waiting.pop(result(action), []) + ready
    return Progress(order, {r: (place[r], need) for need, ranks in waiting.items() for r in ranks})
