"""Which ranks can never go on?

Start with every rank that waits, and strike out whoever can be helped: its message is there, or a
rank that it waits for can still act. Repeat until nobody is struck out. What is left is the greatest
set in which everybody waits only for members: a deadlock, if it is not empty (Chandy, Misra & Haas,
ACM TOCS 1, 1983, for waiting on all, as in a collective, and on any, as with ANY_SOURCE).

The snapshots need not be of one moment. Let w be the first of the set to go on. It was helped by
a message of a member u. If u sent it before u's snapshot, the counts would have shown it; if
after, u had gone on before w did. Either contradicts, so nobody in the set goes on.
"""

from mpipar.comm.ledger import HOPS, Entered, Snapshot, States
from mpipar.comm.transport import ANY_SOURCE, ANY_TAG

EAGER = 4016  # bytes that Open MPI sends through shared memory without waiting for the receiver
SURELY_WAITS = 1 << 16  # bytes from which on every transport waits for the receiver
LONG = 0.6  # s after which a send between the two, or a polling rank, counts as waiting


def never_go_on(states: States, size: int, strict: bool, exact: bool = False) -> set[int]:
    """The greatest set of waiting or ended ranks that wait only for members of it."""
    stuck = {r for r, s in states.items() if s.doing is not None}
    # a rank that was helped may help others, so look again until nothing changes
    while True:
        helped = {r for r in stuck if _can_go_on(states[r], stuck, states, size, strict, exact)}
        if not helped:
            return stuck
        stuck -= helped


def _can_go_on(me: Snapshot, stuck: set[int], states: States, size: int, strict: bool, exact: bool) -> bool:
    doing = me.doing
    if doing.op == "gone":
        return False
    if doing.op == "native":
        return not any(r in stuck for r in not_yet_in(me, states))
    if doing.op in ("send", "wait send"):
        return _send_goes(me, doing.peer, doing.tag, doing.need, stuck, states, strict or exact)
    if doing.op == "poll" and me.blocked < LONG and not exact:
        return True
    if doing.peer == -2:  # polls a send
        return True
    receives = _receive_goes(me, stuck, states, size)
    if doing.op != "sendrecv" or not receives:
        return receives
    if doing.nbytes < SURELY_WAITS and not exact:
        return True
    return _send_goes(me, doing.dest, doing.dest_tag, doing.dest_need, stuck, states, exact)


def _send_goes(me: Snapshot, dest: int, tag: int, need: int, stuck, states: States, strict: bool) -> bool:
    nbytes = me.doing.nbytes
    if not strict and (nbytes <= EAGER or (nbytes < SURELY_WAITS and me.blocked < LONG)):
        return True
    if dest not in stuck:
        return True
    other = states[dest]
    channel = dict(other.received).get((me.rank, me.doing.comm, tag))
    posted = channel.posted if channel else 0
    return posted >= need or _wildcard_takes(other, me.rank, me.doing.comm, tag)


def _wildcard_takes(receiver: Snapshot, sender: int, comm: str, tag: int) -> bool:
    """Whether a receive with a wildcard may take the message; of requests nothing more is known."""
    doing = receiver.doing
    waits_wild = doing.op in ("recv", "sendrecv", "wait recv", "poll") and doing.need == 0
    if receiver.wild - waits_wild > 0:
        return True
    fits = doing.comm == comm and doing.peer in (sender, ANY_SOURCE) and doing.tag in (tag, ANY_TAG)
    return waits_wild and fits


def _receive_goes(me: Snapshot, stuck: set[int], states: States, size: int) -> bool:
    sources = sources_of(me, states, size)
    if any(source not in stuck for source in sources):
        return True
    return any(is_there(me, states[source]) for source in sources)


def sources_of(me: Snapshot, states: States, size: int) -> list[int]:
    """The ranks that could send what this rank waits for."""
    if me.doing.peer != ANY_SOURCE:
        return [me.doing.peer]
    return [r for r in range(size) if r != me.rank and (r not in states or _knows(states[r], me.doing.comm))]


def _knows(state: Snapshot, comm: str) -> bool:
    return comm == "world" or comm in state.calls or any(key[1] == comm for key, _ in state.sent)


def is_there(me: Snapshot, sender: Snapshot) -> bool:
    """Whether the sender has sent what this rank waits for."""
    doing, received = me.doing, dict(me.received)
    for (peer, comm, tag), channel in sender.sent:
        if (
            peer != me.rank
            or comm != doing.comm
            or doing.tag not in (tag, ANY_TAG)
            or (tag <= HOPS) != (doing.tag <= HOPS)
        ):
            continue
        mine = received.get((sender.rank, comm, tag))
        need = doing.need or (mine.posted if mine else 0) + 1
        # with wildcards posted the numbers are not sure: any message not yet taken may be it
        if me.wild and mine is not None:
            need = min(need, mine.done + 1)
        if channel.posted >= need:
            return True
    return False


def not_yet_in(me: Snapshot, states: States) -> list[int]:
    """Members of a native collective that have not called it."""
    comm, number = me.inside
    calls = me.calls[comm]
    return [r for r in calls.members if r in states and times_entered(states[r], comm) < number]


def entered_now(me: Snapshot) -> Entered:
    """The collective that the rank is in: the last one, or one that it has started before."""
    comm, number = me.inside
    calls = me.calls[comm]
    return calls.last[max(number - 1 - calls.entered, -len(calls.last))]


def times_entered(state: Snapshot, comm: str) -> int:
    """How many collectives of the communicator the rank has entered."""
    calls = state.calls.get(comm)
    return calls.entered if calls else 0


def site_now(state: Snapshot) -> str:
    """The line of the call that the rank is in, or has ended after."""
    if state.inside is not None:
        return entered_now(state).site
    return state.doing.site
