"""The ranks of a simulation: greenlets that take turns, and a virtual clock for each.

It is a discrete-event simulation. An agenda holds what will happen, by (time, rank): a message's
first byte reaching its receiver, or a rank going on. A rank runs until it has to wait; then the
earliest entry is next. Messages therefore arrive in the order of virtual time whatever order
the ranks ran in, ANY_SOURCE takes the earliest, and two runs are alike. When the agenda is empty
and somebody still waits, nobody can ever go on: a deadlock, known at once.
"""

from collections.abc import Callable
from contextvars import Context, copy_context
from heapq import heappop, heappush
from itertools import count
from time import thread_time
from typing import Any

from greenlet import getcurrent, greenlet

from mpipar.comm.deadlock import deadlock_error
from mpipar.errors import LaunchError, MessageError, OptionError

IDLE_POLLS = 10_000  # rounds of test() by all who are not stuck, before they count as stuck too
IDLE_SECONDS = 1e-6  # of virtual time, that such a round takes


class Stopped(BaseException):
    """Unwinds a rank when the run is over."""


class Rank:
    """One greenlet and its clock.   times in s;   a port is free from sent_until, received_until on"""

    __slots__ = (
        "burst", "clock", "ended", "error", "greenlet", "mark", "number", "polls",
        "received_until", "result", "sent_until", "sleeps", "started", "waiting",
    )  # fmt: skip

    def __init__(self, number: int) -> None:
        self.number = number
        self.clock = self.sent_until = self.received_until = 0.0
        self.mark = 0.0  # the thread's time when the clock was last set
        self.burst = 0  # messages sent since it last let others run
        self.started = self.ended = self.polls = self.sleeps = False
        self.waiting: Any = None  # what it cannot go on without: a Receive, Sending or Meeting
        self.result = self.error = None


class Agenda:
    """What will happen, by (time, rank, order of coming).

    A heap of times only, each with all its entries: in a collective a thousand ranks do alike at
    the same time, and sorting them once is cheaper than a heap of all.
    """

    def __init__(self) -> None:
        self._times: list[float] = []
        self._entries: dict[float, list[tuple[int, int, Any]]] = {}
        self._now: list[tuple[int, int, Any]] = []  # entries of the earliest time, the last is first
        self.time = 0.0
        self._number = count().__next__

    def add(self, time: float, rank: int, item: Any) -> None:
        entries = self._entries.get(time)
        if entries is None:
            self._entries[time] = [(rank, self._number(), item)]
            heappush(self._times, time)
        else:
            entries.append((rank, self._number(), item))

    def take(self) -> Any:
        """The earliest entry, whose time is `time`; None: there is none."""
        if not self._now:
            if not self._times:
                return None
            self.time = heappop(self._times)
            self._now = self._entries.pop(self.time)
            self._now.sort(reverse=True)
        return self._now.pop()[2]

    def items(self) -> list[Any]:
        return [item for entries in (self._now, *self._entries.values()) for _, _, item in entries]


class Scheduler:
    """Whose turn it is.

    measured: whether computing counts; then a clock moves by the thread time between two calls
    resumed: called with the rank's number when another rank's turn has come
    before_message: called with a message and its time before it arrives
    deadlock: makes the error to raise when nobody can go on
    """

    deadlock: Callable[[list[Rank]], Exception] = staticmethod(deadlock_error)
    resumed: Callable[[int], None] | None = None
    before_message: Callable[[Any, float], None] | None = None

    def __init__(self, size: int, compute: str) -> None:
        if size < 1:
            raise LaunchError(f"{size} ranks cannot run anything; ask for 1 or more")
        if compute not in ("none", "measured"):
            raise OptionError(f"compute={compute!r} is unknown; choose measured or none")
        self.measured = compute == "measured"
        self.ranks = [Rank(number) for number in range(size)]
        self.agenda = Agenda()
        self.over = False
        self._sleepers: list[Rank] = []  # in test(), until something happens to them
        self._idle = 0
        self._turn: Rank | None = None
        self._failed: Rank | None = None

    def run(self, body: Callable[[int], Any], prepare: Callable[[Context, Rank], None]) -> list[Any]:
        """body(rank) on every rank, each in a context of its own that is prepared first.

        returns: their results;   errors: DeadlockError; what the first rank to fail raised
        """
        self._main = getcurrent()
        for rank in self.ranks:
            rank.greenlet = greenlet(lambda rank=rank: self._live(rank, body))
            rank.greenlet.gr_context = copy_context()
            prepare(rank.greenlet.gr_context, rank)
            self.ready(rank, 0.0)
        try:
            self._take_turns()
        finally:
            self._stop()
        return [rank.result for rank in self.ranks]

    def ready(self, rank: Rank, time: float) -> None:
        """The rank goes on at this time, or at its own clock if that is later."""
        self.agenda.add(time if time > rank.clock else rank.clock, rank.number, rank)

    def block(self, me: Rank, waiting: Any) -> None:
        """Let others run until somebody has made me ready."""
        if getcurrent() is not me.greenlet:
            raise wrong_thread(me)
        if self.over:
            raise Stopped
        me.waiting, me.burst = waiting, 0
        other = self._advance()
        if other is not me:
            self._turn = other
            # a new greenlet's stack starts where it is first switched to: not on top of another's
            (other.greenlet if other is not None and other.started else self._main).switch()
            if self.resumed is not None:
                self.resumed(me.number)
        me.waiting = None
        if self.measured:
            me.mark = thread_time()

    def poll(self, me: Rank, waiting: Any) -> None:
        """As block, for a single test(): what is to happen until now, happens first."""
        self._idle += 1
        alone = self._idle % IDLE_POLLS == 0 and all(type(i) is Rank and i.polls for i in self.agenda.items())
        if alone:  # all who are not stuck have tested for long, and nothing is under way
            self.block(me, waiting)
            return
        me.polls = True
        self.ready(me, me.clock)
        self.block(me, None)
        me.polls = False

    def sleep(self, me: Rank, waiting: Any) -> None:
        """As block, for a loop of test(): goes on, too, when nothing else can happen."""
        me.sleeps = True
        self._sleepers.append(me)
        self.block(me, waiting)

    def happened(self, rank: Rank, pending: Any, time: float) -> None:
        """Something the rank has started is done: it goes on if it waits for that."""
        if rank.sleeps:
            self._sleepers.remove(rank)
            rank.sleeps, rank.clock = False, max(time, rank.clock)
            self.ready(rank, time)
        elif rank.waiting is pending:
            self.ready(rank, time)

    def _advance(self) -> Rank | None:
        """Let messages arrive until it is a rank's turn; None: nobody can go on."""
        agenda = self.agenda
        while True:
            item = agenda.take()
            if type(item) is Rank:
                return item
            if item is None:
                if self._wake_sleepers():
                    continue
                return None
            self._idle = 0
            if self.before_message is not None:
                self.before_message(item, agenda.time)
            item.arrive(agenda.time)

    def _wake_sleepers(self) -> bool:
        """Nothing will happen by itself, but a loop of test() may end by itself."""
        self._idle += 1
        if self._idle > IDLE_POLLS:
            return False
        sleepers, self._sleepers = self._sleepers, []
        for rank in sleepers:
            rank.sleeps, rank.clock = False, rank.clock + IDLE_SECONDS
            self.ready(rank, rank.clock)
        return bool(sleepers)

    def _take_turns(self) -> None:
        """Start each rank when its first turn comes, and see each end."""
        while True:
            rank, self._turn = self._turn or self._advance(), None
            if rank is None:
                break
            rank.started = True
            if self.resumed is not None:
                self.resumed(rank.number)
            rank.greenlet.switch()
            if self._failed is not None:
                self._failed.error.rank = self._failed.number
                raise self._failed.error
        if not all(rank.ended for rank in self.ranks):
            raise self.deadlock(self.ranks)

    def _live(self, rank: Rank, body: Callable[[int], Any]) -> None:
        if self.measured:
            rank.mark = thread_time()
        try:
            rank.result = body(rank.number)
        except BaseException as error:
            left_in_order = isinstance(error, SystemExit) and error.code in (None, 0)
            if not self.over and not left_in_order:
                rank.error, self._failed = error, rank
        rank.ended = True
        self._idle = 0

    def _stop(self) -> None:
        self.over = True
        for rank in self.ranks:
            while rank.started and not rank.greenlet.dead:
                rank.greenlet.throw(Stopped)


def wrong_thread(rank: Rank) -> MessageError:
    return MessageError(
        f"virtual rank {rank.number}: a message from a thread that is not the rank's own; let the rank "
        "itself send and receive, or run the script under mpirun"
    )
