"""The ranks of a simulation: greenlets that take turns, and a virtual clock for each.

It is a discrete-event simulation. One heap holds what will happen, by (time, rank): a message's
first byte reaching its receiver, or a rank going on. A rank runs until it has to wait; then the
earliest entry is next. Messages therefore arrive in the order of virtual time whatever order
the ranks ran in, ANY_SOURCE takes the earliest, and two runs are alike. When the heap is empty
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
        "burst", "clock", "ended", "error", "failed_test", "greenlet", "mark", "number", "polls",
        "received_until", "result", "sent_until", "sleeps", "started", "waiting",
    )  # fmt: skip

    def __init__(self, number: int) -> None:
        self.number = number
        self.clock = self.sent_until = self.received_until = 0.0
        self.mark = 0.0  # the thread's time when the clock was last set
        self.burst = 0  # messages sent since it last let others run
        self.failed_test = -1.0  # its clock when a test() last said no
        self.started = self.ended = self.polls = self.sleeps = False
        self.waiting: Any = None  # what it cannot go on without: a Receive, Sending or Meeting
        self.result = self.error = None


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
        self.heap: list[tuple[float, int, int, Any]] = []
        self.next = count().__next__  # no two entries of the heap are equal
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
        heappush(self.heap, (time if time > rank.clock else rank.clock, rank.number, self.next(), rank))

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
        if self._idle % IDLE_POLLS == 0 and all(getattr(item, "polls", False) for *_, item in self.heap):
            self.block(me, waiting)  # all who are not stuck have tested for long, and nothing is under way
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
        heap = self.heap
        while heap or self._wake_sleepers():
            time, _, _, item = heappop(heap)
            if type(item) is Rank:
                return item
            self._idle = 0
            if self.before_message is not None:
                self.before_message(item, time)
            item.arrive(time)
        return None

    def _wake_sleepers(self) -> bool:
        """Nothing will happen by itself, but a loop of test() may end by itself."""
        self._idle += 1
        if self._idle > IDLE_POLLS:
            return False
        for rank in self._sleepers:
            rank.sleeps, rank.clock = False, rank.clock + IDLE_SECONDS
            self.ready(rank, rank.clock)
        self._sleepers.clear()
        return bool(self.heap)

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
