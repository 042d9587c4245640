"""What one rank has done and is doing, kept in plain Python so that keeping it costs little.

A *channel* is a stream of messages that keeps its order: (the other rank, communicator, tag).
All messages inside the collectives of a communicator form one channel a peer, tag `HOPS`, except
that each started collective that is under way has one of its own, with a tag below `HOPS`. For
each channel the sender counts what it has started to send, the receiver what it has posted and
what it has received; so whether a message is there for a receive is a comparison of counts.

diagnose.py reads the ledgers of all ranks; watch.py carries them from process to process.
"""

from collections import deque
from typing import Any, NamedTuple

import msgspec

from mpipar.comm.transport import ANY_SOURCE, ANY_TAG

HOPS = -9  # the tag of messages inside collectives; those of started ones have smaller ones
RUNS_KEPT = 256  # of a channel: stretches of messages alike
STEPS_KEPT = 2_000  # of the log that replay.py reads
COLLECTIVES_KEPT = 128  # of a communicator

# collectives that no rank leaves before all have entered
WAITS_FOR_ALL = frozenset("barrier allreduce allgather alltoall reduce_scatter split".split())

Key = tuple[int, str, int]  # peer (world rank), communicator, tag


class Doing(msgspec.Struct, array_like=True, frozen=True):
    """The call a rank is in. op: send, recv, sendrecv, wait send, wait recv, poll, native or gone."""

    op: str
    peer: int = -2  # who has to act: source of a receive (ANY_SOURCE: -1), destination of a send
    comm: str = ""
    tag: int = 0
    need: int = 0  # which message of the channel; 0 where a wildcard leaves that open
    nbytes: int = 0
    dest: int = -2  # of the sending half of a sendrecv
    dest_tag: int = 0
    dest_need: int = 0
    site: str = ""


class Run(msgspec.Struct, array_like=True):
    """Messages first, first+1, … of a channel that are alike."""

    first: int
    dtype: str
    nbytes: int
    site: str


class Channel(msgspec.Struct, array_like=True):
    """Counts of one direction.   posted, done: started and completed on this side"""

    posted: int = 0
    done: int = 0
    runs: list[Run] = msgspec.field(default_factory=list)
    failed: list[int] = msgspec.field(default_factory=list)  # receives that raised, by number
    named_at: str = ""  # line of a receive that took a message of this channel by the sender's rank
    any_at: str = ""  # line of one that would have taken anybody's

    def post(self, dtype: str, nbytes: int, site: str) -> int:
        """One message more is started.   returns: its number"""
        self.posted = number = self.posted + 1
        last = self.runs[-1] if self.runs else None
        if last is None or last.site != site or last.nbytes != nbytes or last.dtype != dtype:
            self.note(number, dtype, nbytes, site)
        return number

    def note(self, number: int, dtype: str, nbytes: int, site: str) -> None:
        """Message `number` is not like the ones before."""
        self.runs.append(Run(number, dtype, nbytes, site))
        if len(self.runs) > RUNS_KEPT:
            del self.runs[: RUNS_KEPT // 2]

    def run_of(self, number: int) -> Run | None:
        """What is known of message `number`."""
        for run in reversed(self.runs):
            if run.first <= number:
                return run if number <= self.posted else None
        return None


class Entered(msgspec.Struct, array_like=True, frozen=True):
    """A collective as this rank called it; ranks that call it together must agree on all but site."""

    kind: str
    root: int
    op: str
    dtype: str
    count: int
    algorithm: str
    site: str


class Calls(msgspec.Struct, array_like=True):
    """The collectives of one communicator: how many were entered, and the last ones."""

    members: list[int]  # world ranks
    entered: int = 0
    last: list[Entered] = msgspec.field(default_factory=list)


class Book(NamedTuple):
    """Where the collectives of a communicator are written down.   last: the last ones, see Calls"""

    comm: str
    calls: Calls
    last: deque[Entered]


class Step(msgspec.Struct, array_like=True, frozen=True):
    """One entry of the log: a message started ("send", "recv", "isend", "irecv") or waited for
    ("wait send", "wait recv"), with its number in its channel; or a collective of WAITS_FOR_ALL,
    with its number on the communicator and no peer."""

    op: str
    peer: int
    comm: str
    tag: int
    number: int
    site: str


def steps_of(log: list[tuple]) -> list[Step]:
    """A sendrecv as the three steps that it is."""
    steps = []
    for entry in log:
        if entry[0] != "sendrecv":
            steps.append(Step(*entry))
            continue
        _, source, comm, tag, number, site, dest, dest_tag, sent = entry
        steps.append(Step("irecv", source, comm, tag, number, site))
        steps.append(Step("isend", dest, comm, dest_tag, sent, site))
        steps.append(Step("wait recv", source, comm, tag, number, site))
    return steps


class Blind(msgspec.Struct, array_like=True, frozen=True):
    """A receive with a wildcard that raised, so that which message it took is not known."""

    peer: int
    comm: str
    tag: int
    dtype: str
    nbytes: int
    site: str


class Snapshot(msgspec.Struct, array_like=True):
    """A ledger as others read it. `doing` is None while the rank computes or moves on."""

    rank: int
    counter: int
    doing: Doing | None
    inside: list | None  # [communicator, number] of the collective the call belongs to
    sent: list[tuple[Key, Channel]]
    received: list[tuple[Key, Channel]]
    calls: dict[str, Calls]
    wild: int  # receives with a wildcard that are posted and not done
    blind: list[Blind] = msgspec.field(default_factory=list)
    polls: int = 0
    pid: int = 0
    blocked: float = 0.0  # s it has been in this call
    last_line: str = ""  # of its last call
    steps: list[Step] | None = None  # the log, only of a rank that has ended

    @property
    def gone(self) -> bool:
        """Whether the rank has ended."""
        return self.doing is not None and self.doing.op == "gone"


States = dict[int, Snapshot]  # by world rank


class Ledger:
    """One rank's book. `counter` grows with every call, so a rank with the same counter waits."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.counter = 0
        self.last_line = ""  # of the last call
        self.polls = 0
        self.doing: tuple | None = None  # the fields of a Doing
        self.inside: list | None = None
        self.sent: dict[Key, Channel] = {}
        self.received: dict[Key, Channel] = {}
        self._books: dict[str, Book] = {}
        self.wild = 0
        self.blind: list[Blind] = []
        self.races: dict[str, None] = {}  # lines of receives that raced for a message, in order
        self.steps: list[tuple] = []  # the fields of a Step
        self.requests: dict[int, Any] = {}  # under way

    # ---- messages: on the path of every message, so tuples here, and structs when others read them
    def sending(self, peer: int, comm: str, tag: int, dtype: str, nbytes: int, site: str) -> int:
        """A send starts.   returns: its number in the channel"""
        channel = self.sent.get((peer, comm, tag))
        if channel is None:
            channel = self.sent[peer, comm, tag] = Channel()
        return channel.post(dtype, nbytes, site)

    def receiving(self, peer: int, comm: str, tag: int, dtype: str, nbytes: int, site: str) -> int:
        """A receive is posted.   returns: its number in the channel, 0 with a wildcard"""
        if peer == ANY_SOURCE or tag == ANY_TAG:
            self.wild += 1
            return 0
        channel = self.received.get((peer, comm, tag))
        if channel is None:
            channel = self.received[peer, comm, tag] = Channel()
        return channel.post(dtype, nbytes, site)

    def failed(self, number: int, peer: int, comm: str, tag: int, dtype: str, nbytes: int, site: str) -> None:
        """A receive has taken a message that does not fit, and raises."""
        if number == 0:
            self.wild -= 1
            self.blind.append(Blind(peer, comm, tag, dtype, nbytes, site))
            return
        channel = self.received[peer, comm, tag]
        channel.done += 1
        channel.failed.append(number)

    def got(
        self, number: int, peer: int, comm: str, tag: int, dtype: str, nbytes: int, site: str, anybody: bool
    ) -> int:
        """A receive is done; peer and tag are the message's own.   returns: its number

        anybody: it had asked for ANY_SOURCE; if both ways are used for one channel, they race
        """
        channel = self.received.get((peer, comm, tag))
        if channel is None:
            channel = self.received[peer, comm, tag] = Channel()
        if number == 0:
            self.wild -= 1
            number = channel.post(dtype, nbytes, site)
        channel.done += 1
        if anybody:
            channel.any_at = site
        elif tag > HOPS:
            channel.named_at = site
        if channel.any_at and channel.named_at:
            self.race(channel.any_at, channel.named_at)
        return number

    def race(self, *sites: str) -> None:
        """Receives at these lines can take each other's message."""
        self.races.update(dict.fromkeys(sites))

    def log(self, *step: Any) -> None:
        """Remember the order of calls, up to a limit.

        step: the fields of a Step; of a sendrecv also dest, its tag and the number sent
        """
        if len(self.steps) < STEPS_KEPT:
            self.steps.append(step)

    def enter(self, *doing: Any) -> None:
        """The rank may wait from now on.   doing: the fields of a Doing"""
        self.counter += 1
        self.doing = doing
        self.last_line = doing[9] or self.last_line

    def leave(self) -> None:
        """It goes on."""
        self.counter += 1
        self.doing = None

    # ---- collectives
    def book(self, comm: str, members: list[int]) -> Book:
        """That of a communicator with these world ranks."""
        if comm not in self._books:
            self._books[comm] = Book(comm, Calls(members), deque(maxlen=COLLECTIVES_KEPT))
        return self._books[comm]

    def enter_collective(self, book: Book, entered: Entered) -> int:
        """returns: its number on this communicator, from 1"""
        comm, calls, last = book
        calls.entered = number = calls.entered + 1
        last.append(entered)
        self.last_line = entered.site
        if len(self.steps) < STEPS_KEPT and entered.kind in WAITS_FOR_ALL:
            self.log(entered.kind, -1, comm, 0, number, entered.site)
        self.inside = [comm, number]
        self.counter += 1
        return number

    def leave_collective(self) -> None:
        self.inside = None
        self.counter += 1

    def snapshot(self, waiting: bool, blocked: float = 0.0, pid: int = 0) -> Snapshot:
        """The book as it is now; waiting: the call in progress is to be shown."""
        called = {}
        for comm, calls, last in list(self._books.values()):
            calls.last = list(last)
            called[comm] = calls
        doing = self.doing
        return Snapshot(
            self.rank, self.counter, Doing(*doing) if waiting and doing else None, self.inside,
            list(self.sent.items()), list(self.received.items()), called, self.wild,
            list(self.blind), self.polls, pid, blocked, self.last_line,
        )  # fmt: skip
