"""What each collective of a trace cost: messages and bytes a rank, rounds, bytes on the longest chain.

The trace's own counts, to hold against an algorithm's formula (mpipar/comm/collectives/cost.py).
Rounds are counted in the one-port model (Bar-Noy & Kipnis, Math. Systems Theory 27, 1994): a rank
sends at most one message and receives at most one at a time; a message takes one round, and
begins when both sides have come to it in their programs and their ports are free.
"""

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from mpipar.trace import MESSAGES, SENDS, Event, Trace, collective_calls, pair_messages
from mpipar.view.steps import groups

Key = tuple[int, int]  # rank and seq of a send: names a message
SET_UP = "set up: "  # begins the phases of messages that only a communicator's first call sends


@dataclass
class Call:
    """One collective call.   messages, sent: by world rank, what it sent;   path: bytes"""

    operation: str
    algorithm: str
    comm: str
    bytes: int
    messages: dict[int, int]
    sent: dict[int, int]
    rounds: int
    path: int


class _Half(NamedTuple):
    """One side of a message, started when the rank's clock stood at `clock`."""

    message: Key
    size: int
    clock: int


@dataclass
class _Port:
    """Halves in the order they were started; the first is the next to travel."""

    waiting: deque[_Half] = field(default_factory=deque)
    free: int = 0


@dataclass
class _Rank:
    """A rank's part of the call: ("post", event) and ("wait", event) in program order."""

    program: deque[tuple[str, Event]]
    clock: int = 0
    out: _Port = field(default_factory=_Port)
    into: _Port = field(default_factory=_Port)


def calls(trace: Trace) -> list[Call]:
    """Every collective of the trace whose messages were seen, in order, one row a call."""
    names: dict[Key, Key] = {}  # of either side of a message -> its name
    for sender, sent, receiver, received in pair_messages(trace):
        names[sender, sent.seq] = names[receiver, received.seq] = (sender, sent.seq)
    inside = {rank: _by_parent(of.events) for rank, of in trace.ranks.items()}
    parts = [part for part in collective_calls(trace).values() if _is_seen(next(iter(part.values())))]
    return [_call(part, inside, names) for part in parts]


def _is_seen(event: Event) -> bool:
    return event.op != "split" and event.algorithm != "native"


def _by_parent(events: list[Event]) -> dict[int, list[Event]]:
    """seq of a collective -> its messages and the waits for them, in order."""
    home: dict[int, int] = {}
    found: dict[int, list[Event]] = defaultdict(list)
    for event in sorted(events, key=lambda event: event.seq):
        if event.op in MESSAGES and event.parent >= 0:
            home[event.seq] = event.parent
            if not event.phase.startswith(SET_UP):
                found[event.parent].append(event)
        elif event.op == "wait" and event.parent in home:
            found[home[event.parent]].append(event)
    return found


def _call(part: dict[int, Event], inside: dict, names: dict[Key, Key]) -> Call:
    events = {rank: inside[rank].get(whole.seq, []) for rank, whole in part.items()}
    sends = {rank: [e for e in own if e.op in SENDS] for rank, own in events.items()}
    first = next(iter(part.values()))
    return Call(
        first.op,
        first.algorithm,
        first.comm,
        first.bytes,
        {rank: len(own) for rank, own in sends.items()},
        {rank: sum(e.bytes for e in own) for rank, own in sends.items()},
        _longest_chain(events, names, lambda event: 1),
        _longest_chain(events, names, lambda event: event.bytes),
    )


def _longest_chain(events: dict[int, list[Event]], names: dict[Key, Key], size: Callable) -> int:
    """When the last message ends, where a message takes `size(event)`."""
    ranks = {rank: _Rank(_program(own)) for rank, own in events.items()}
    ended: dict[Key, int] = {}
    progress = True
    while progress:
        progress = False
        for number, rank in ranks.items():
            while rank.program and _step(number, rank, ended, names, size):
                progress = True
        for rank in ranks.values():
            while rank.into.waiting and _carry(rank.into, ranks, ended):
                progress = True
    return max(ended.values(), default=0)


def _program(events: list[Event]) -> deque[tuple[str, Event]]:
    steps: deque[tuple[str, Event]] = deque()
    for group in groups(events):
        if group[0].op == "wait":
            steps.append(("wait", group[0]))
            continue
        steps += [("post", event) for event in group]
        steps += [("wait", event) for event in group if event.op in ("send", "recv")]
    return steps


def _step(number: int, rank: _Rank, ended: dict[Key, int], names: dict[Key, Key], size: Callable) -> bool:
    """Run the next step of a rank's program.   returns: False where it has to wait"""
    what, event = rank.program[0]
    key = names.get((number, event.parent if event.op == "wait" else event.seq))
    if key is not None and what == "post":
        port = rank.out if event.op in SENDS else rank.into
        port.waiting.append(_Half(key, size(event), rank.clock))
    elif key is not None:
        if key not in ended:
            return False
        rank.clock = max(rank.clock, ended[key])
    rank.program.popleft()
    return True


def _carry(into: _Port, ranks: dict[int, _Rank], ended: dict[Key, int]) -> bool:
    """Let the next message into a port travel if it is the next one out of its sender's."""
    received = into.waiting[0]
    out = ranks[received.message[0]].out
    if not out.waiting or out.waiting[0].message != received.message:
        return False
    begin = max(received.clock, out.waiting[0].clock, into.free, out.free)
    ended[received.message] = into.free = out.free = begin + received.size
    into.waiting.popleft()
    out.waiting.popleft()
    return True
