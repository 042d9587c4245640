"""The transport of virtual ranks: which message meets which receive.

A mailbox for each rank and communicator keeps MPI's order: messages of one sender are taken in
the order they were sent, receives in the order they were posted.
"""

import sys
from time import thread_time
from typing import Any

import numpy as np
from greenlet import getcurrent

from mpipar.comm.deadlock import where_is
from mpipar.comm.delivery import Message, Receive, Sending
from mpipar.comm.network import Topology
from mpipar.comm.scheduler import Rank, Scheduler, wrong_thread
from mpipar.comm.transport import ANY_SOURCE, ANY_TAG, Status
from mpipar.errors import OptionError

TAG_LIMIT = 2**31 - 1
BURST = 256  # sends in a row after which others run, so that few messages are under way at once


class Meeting:
    """A split under way.   given: (color, key) of each rank that has come"""

    op = "split"

    def __init__(self, group: "Group") -> None:
        self.group = group
        self.given: dict[int, tuple[int | None, int]] = {}
        self.result: dict[int, VirtualTransport] = {}

    def divide(self, last: Rank) -> None:
        """All have come: a new group for each color. All go on when the last has come."""
        group, given = self.group, self.given
        for color in {color for color, _ in given.values() if color is not None}:
            members = [r for r in range(len(given)) if given[r][0] == color]
            members.sort(key=lambda r: (given[r][1], r))
            new = Group(group.scheduler, group.topology, [group.ranks[r] for r in members])
            self.result |= dict(zip(members, new.transports, strict=True))
        latest = max(rank.clock for rank in group.ranks)
        for rank in group.ranks:
            rank.clock = latest
            if rank is not last:
                group.scheduler.ready(rank, latest)


class Group:
    """The ranks of one communicator: their transports, and the groups made from it."""

    def __init__(self, scheduler: Scheduler, topology: Topology, ranks: list[Rank]) -> None:
        self.scheduler, self.topology, self.ranks = scheduler, topology, ranks
        self.numbers = [rank.number for rank in ranks]
        self.nodes = [topology.place(number)[0] for number in self.numbers]
        self.transports = [VirtualTransport(self, r, rank) for r, rank in enumerate(ranks)]
        self.duplicates: list[Group] = []
        self.meetings: list[Meeting] = []


class VirtualTransport:
    """Messages of one virtual rank on one communicator.

    posted, unexpected: receives without a message and messages without a receive, by source
    """

    tag_limit = TAG_LIMIT
    reads_device = False
    has_native = False
    ledger = None

    def __init__(self, group: Group, rank: int, me: Rank) -> None:
        self.rank, self.size, self.group, self.me = rank, len(group.ranks), group, me
        self.scheduler, self._eager_limit = group.scheduler, group.topology.eager_limit
        self.posted: dict[int, list[Receive]] = {}
        self.unexpected: dict[int, list[Message]] = {}
        self.arrived = 0  # messages that came before their receive
        self._posts = self._splits = self._duplicates = 0
        self._routes: dict[int, tuple] = {}  # peer -> (its transport, the link to it)
        self.reduced = None if self.scheduler.measured else self._reduced

    def now(self) -> int:
        if self.scheduler.measured:
            self._count_computing()
        return int(self.me.clock * 1e9 + 0.5)

    def pause(self, seconds: float) -> None:
        self.now()
        self.me.clock += seconds

    def _reduced(self, nbytes: int) -> None:
        self.me.clock += nbytes * self.group.topology.gamma

    def send(self, buffer: np.ndarray, dest: int, tag: int) -> None:
        sending = self._post(buffer, dest, tag)
        if sending is not None:
            sending.wait()

    def recv(self, buffer: np.ndarray, source: int, tag: int) -> Status:
        return self.irecv(buffer, source, tag).wait()

    def sendrecv(
        self, buffer: np.ndarray, dest: int, tag: int, into: np.ndarray, source: int, recv_tag: int
    ) -> Status:
        sending = self._post(buffer, dest, tag)
        status = self.irecv(into, source, recv_tag).wait()
        if sending is not None:
            sending.wait()
        return status

    def isend(self, buffer: np.ndarray, dest: int, tag: int) -> Sending:
        return self._post(buffer, dest, tag) or Sending(self, buffer, dest, tag, self.me.clock)

    def irecv(self, buffer: np.ndarray, source: int, tag: int) -> Receive:
        if self.scheduler.measured:
            self._count_computing()
        receive = Receive(self, buffer, source, tag)
        message = self._unexpected_for(source, tag) if self.unexpected else None
        if message is not None:
            receive.take(message)
            return receive
        receive.number = self._posts = self._posts + 1
        self.posted.setdefault(source, []).append(receive)
        return receive

    def split(self, color: int | None, key: int) -> "VirtualTransport | None":
        meetings, me = self.group.meetings, self.me
        if self.scheduler.measured:
            self._count_computing()
        if self._splits == len(meetings):
            meetings.append(Meeting(self.group))
        meeting = meetings[self._splits]
        self._splits += 1
        meeting.given[self.rank] = (color, key)
        if len(meeting.given) < self.size:
            self.scheduler.block(me, meeting)
        else:
            meeting.divide(me)
        return meeting.result.get(self.rank)

    def duplicate(self) -> "VirtualTransport":
        """Waits for nobody: the first rank to come makes the transports of all."""
        group = self.group
        if self._duplicates == len(group.duplicates):
            group.duplicates.append(Group(self.scheduler, group.topology, group.ranks))
        self._duplicates += 1
        return group.duplicates[self._duplicates - 1].transports[self.rank]

    def ranks_in_world(self) -> list[int]:
        return self.group.numbers

    def nodes(self) -> list[int]:
        return self.group.nodes

    def native(self, operation: str, *_: Any) -> None:
        raise OptionError(f"{operation}: virtual ranks have no native collectives; choose one of ours")

    def done_by_now(self, pending: Receive | Sending) -> bool:
        """What test() is to say. A loop of test() must let others run, and time pass."""
        me, scheduler = self.me, self.scheduler
        if scheduler.measured:
            self._count_computing()
        if pending.done is None or pending.done > me.clock:
            if pending.failed_test != me.clock:
                scheduler.poll(me, pending)
            elif pending.done is None:  # since its last test no time has passed
                scheduler.sleep(me, pending)
            else:
                me.clock = pending.done
        done = pending.done is not None and pending.done <= me.clock
        pending.failed_test = -1.0 if done else me.clock
        return done

    def posted_for(self, message: Message) -> Receive | None:
        """Take the earliest posted receive that the message fits."""
        posted, found = self.posted, None
        if not posted:
            return None
        for source in (message.source, ANY_SOURCE) if ANY_SOURCE in posted else (message.source,):
            for receive in posted.get(source, ()):
                if receive.tag == message.tag or receive.tag == ANY_TAG:
                    if found is None or receive.number < found.number:
                        found = receive
                    break
        if found is not None:
            _remove(posted, found)
        return found

    def _unexpected_for(self, source: int, tag: int) -> Message | None:
        """Take the earliest arrived message that a receive fits."""
        unexpected, found = self.unexpected, None
        for sender in unexpected if source == ANY_SOURCE else (source,):
            for message in unexpected.get(sender, ()):
                if tag == message.tag or tag == ANY_TAG:
                    if found is None or message.number < found.number:
                        found = message
                    break
        if found is not None:
            _remove(unexpected, found)
        return found

    def _post(self, buffer: np.ndarray, dest: int, tag: int) -> Sending | None:
        """Send a message on its way.   returns: None if it is eager, so that its sender may go on"""
        me, scheduler = self.me, self.scheduler
        if getcurrent() is not me.greenlet:
            raise wrong_thread(me)
        if scheduler.measured:
            self._count_computing()
        if me.burst > BURST:  # nothing can leave before the port is free, so no time is lost
            scheduler.ready(me, me.sent_until)
            scheduler.block(me, None)
        me.burst += 1
        message = Message()
        message.home, message.link = self._routes.get(dest) or self._route(dest)
        message.sender, message.source, message.tag, message.receive = me, self.rank, tag, None
        message.nbytes = nbytes = buffer.nbytes
        me.clock += message.link.overhead
        begin = me.clock if me.clock > me.sent_until else me.sent_until
        if nbytes <= self._eager_limit:
            message.data, message.sending = buffer.copy(), None
            me.sent_until = begin + nbytes * message.link.beta
        else:
            message.data, message.ready = buffer, me.clock
            message.sending = Sending(self, buffer, dest, tag, None)
        if scheduler.before_message is not None:
            message.site = where_is(sys._getframe())
        scheduler.agenda.add(begin + message.link.alpha, me.number, message)
        return message.sending

    def _route(self, peer: int) -> tuple:
        home = self.group.transports[peer]
        self._routes[peer] = found = (home, self.group.topology.link(self.me.number, home.me.number))
        return found

    def _count_computing(self) -> None:
        me, time = self.me, thread_time()
        me.clock += time - me.mark
        me.mark = time


def _remove(queues: dict[int, list], item: Message | Receive) -> None:
    queue = queues[item.source]
    if len(queue) == 1:
        del queues[item.source]
    else:
        queue.remove(item)
