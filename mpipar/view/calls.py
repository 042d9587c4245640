"""The collective calls of a trace, numbered from 1 so that two machines give a call one number.

A call's level is one more than the highest level of the calls before it in the programs of its
ranks. Calls are numbered by (level, lowest rank, communicator): an order in which every rank
makes them, and in which no clock has a say.
"""

import math
from collections import Counter, defaultdict
from dataclasses import dataclass

from mpipar.errors import TraceError
from mpipar.trace import Event, Trace, collective_calls

Key = tuple[str, int]  # communicator, and which of its collectives


@dataclass(frozen=True)
class CallInfo:
    """One collective call.

    algorithm: "native" for MPI's own, whose messages cannot be seen;   stands_for: "native" where
    that was asked for;   ranks: of the world, rank 0 of the communicator first;   root: of the world,
    -1 where there is none;   site: of the lowest rank;   parts: rank -> its event
    """

    number: int
    operation: str
    algorithm: str
    stands_for: str
    comm: str
    ranks: list[int]
    bytes: int
    dtype: str
    reduction: str
    root: int
    step: int
    scope: str
    site: str
    parts: dict[int, Event]

    @property
    def name(self) -> str:
        """As ring_allreduce."""
        return f"{self.algorithm}_{self.operation}"

    @property
    def itemsize(self) -> int:
        """Bytes of an element; 1 where there are none."""
        elements = math.prod(self.parts[min(self.parts)].shape)
        return self.bytes // elements if elements else 1


def call_list(trace: Trace) -> list[CallInfo]:
    """All collective calls in their order; the k-th has number k."""
    found, groups = collective_calls(trace), trace.groups
    levels = _levels(found)
    order = sorted(found, key=lambda key: (levels[key], min(found[key]), key))
    return [_info(n, found[key], groups.get(key[0])) for n, key in enumerate(order, 1)]


def find_call(calls: list[CallInfo], wanted: str) -> CallInfo:
    """A call by its number, as 17 or #17, or the first one of a name: allreduce, ring, allreduce ring.

    errors: TraceError where there is no such call
    """
    number = wanted.removeprefix("#")
    for call in calls:
        names = (call.operation, call.algorithm, f"{call.operation} {call.algorithm}", call.name)
        if number == str(call.number) or wanted in names:
            return call
    raise TraceError(f"there is no collective {wanted}; {_offered(calls)}")


def _offered(calls: list[CallInfo]) -> str:
    if not calls:
        return "the trace holds no collectives"
    kinds = Counter(f"{call.operation} {call.algorithm}" for call in calls)
    named = ", ".join(f"{kind} ({n})" for kind, n in kinds.most_common(6))
    more = ", …" if len(kinds) > 6 else ""
    return f"the trace holds #1 … #{len(calls)}: {named}{more}"


def _info(number: int, parts: dict[int, Event], ranks: list[int] | None) -> CallInfo:
    first = parts[min(parts)]
    algorithm, _, stands_for = first.algorithm.partition(" (for ")
    return CallInfo(
        number, first.op, algorithm, stands_for.rstrip(")"), first.comm, ranks or sorted(parts), first.bytes,
        first.dtype, first.reduction, first.peer, first.step, first.scope, first.site, parts,
    )  # fmt: skip


def _levels(found: dict[Key, dict[int, Event]]) -> dict[Key, int]:
    programs: dict[int, list[tuple[int, Key]]] = defaultdict(list)
    for key, part in found.items():
        for rank, event in part.items():
            programs[rank].append((event.seq, key))
    queues = {rank: [key for _, key in sorted(program, reverse=True)] for rank, program in programs.items()}
    missing = {key: len(part) for key, part in found.items()}  # ranks that have not come to the call
    levels, level_of_rank = dict.fromkeys(found, len(found)), dict.fromkeys(queues, 0)
    arriving = list(queues)
    while arriving:
        rank = arriving.pop()
        if not queues[rank]:
            continue
        key = queues[rank][-1]
        missing[key] -= 1
        if missing[key]:
            continue
        members = found[key]
        levels[key] = 1 + max(level_of_rank[r] for r in members)
        for r in members:
            queues[r].pop()
            level_of_rank[r] = levels[key]
        arriving += members
    return levels
