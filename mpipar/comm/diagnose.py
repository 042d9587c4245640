"""From the ledgers of all ranks to a verdict: pure functions, no communication.

Who can never go on? Start with every rank that waits, and strike out whoever can be helped:
its message is there, or a rank that it waits for can still act. Repeat until nobody is struck
out. What is left is the greatest set in which everybody waits only for members: a deadlock, if
it is not empty (Chandy, Misra & Haas, ACM TOCS 1, 1983, for waiting on all, as in a collective,
and on any, as with ANY_SOURCE).

The snapshots need not be of one moment. Let w be the first of the set to go on. It was helped by
a message of a member u. If u sent it before u's snapshot, the counts would have shown it; if
after, u had gone on before w did. Either contradicts, so nobody in the set goes on.
"""

from collections import Counter

import numpy as np

from mpipar.comm.ledger import HOPS, Calls, Doing, Entered, Snapshot
from mpipar.comm.transport import ANY_SOURCE, ANY_TAG
from mpipar.comm.verdict import Verdict

EAGER = 4016  # bytes that Open MPI sends through shared memory without waiting for the receiver
SURELY_WAITS = 1 << 16  # bytes from which on every transport waits for the receiver
LONG = 0.6  # s after which a send between the two, or a polling rank, counts as waiting
DIFFERENCES = (  # field of Entered, class of mistake, most telling first
    ("kind", "different collectives"),
    ("root", "different roots"),
    ("op", "different ops"),
    ("dtype", "different dtypes"),
    ("count", "different counts"),
    ("algorithm", "different algorithms"),
)
States = dict[int, Snapshot]


def diagnose(
    states: States,
    size: int,
    strict: bool = False,
    compared: dict[str, int] | None = None,
    exact: bool = False,
) -> Verdict | None:
    """The verdict about these ranks, None while nothing is wrong.

    states: snapshot by world rank; a rank without one (on another node) may go on
    strict: every send waits for its receiver
    exact: whoever is shown in a call waits in it for certain, as on virtual ranks
    compared: how many collectives of a communicator need not be compared again; kept up to date
    """
    compared = {} if compared is None else compared
    mismatch = find_mismatch(states, compared)
    return mismatch or find_wrong_message(states) or find_deadlock(states, size, strict, exact)


# ---- collectives that do not match
def find_mismatch(states: States, compared: dict[str, int]) -> Verdict | None:
    """Ranks that call one collective of a communicator differently."""
    comms = {comm for state in states.values() for comm in state.calls}
    for comm in sorted(comms):
        calls = {r: s.calls[comm] for r, s in sorted(states.items()) if comm in s.calls}
        first = max(compared.get(comm, 0), *(c.entered - len(c.last) for c in calls.values())) + 1
        for number in range(first, max(c.entered for c in calls.values()) + 1):
            called = {r: c.last[number - 1 - c.entered] for r, c in calls.items() if c.entered >= number}
            verdict = _difference(called, comm, number)
            if verdict is not None:
                return verdict
        compared[comm] = min((c.entered for c in calls.values() if len(calls) == len(c.members)), default=0)
    return None


def _difference(called: dict[int, Entered], comm: str, number: int) -> Verdict | None:
    if len(called) < 2:
        return None
    for field, kind in DIFFERENCES:
        values = {r: getattr(entered, field) for r, entered in called.items()}
        if len(set(values.values())) > 1:
            # the majority is right; in a tie the value of the lowest rank is
            right = Counter(values.values()).most_common(1)[0][0]
            blame = [(r, called[r].site) for r, value in values.items() if value != right]
            lines = [f"rank {r}  calls {_collective(e)} at {e.site}" for r, e in called.items()]
            return Verdict(kind, blame, [*lines, f"it is collective {number} of {comm}"])
    return None


def _collective(e: Entered) -> str:
    parts = [f"{e.count} × {e.dtype}"] if e.dtype else []
    parts += [f"op={e.op}"] if e.op else []
    parts += [f"root={e.root}"] if e.root >= 0 else []
    return f"{e.kind}({', '.join([*parts, f'algorithm={e.algorithm}'])})"


# ---- messages that were taken as something else
def find_wrong_message(states: States, failed: bool = False) -> Verdict | None:
    """A received message whose dtype or size is not the receiver's.

    failed: also where the receive has raised, which the program may have caught
    """
    for receiver, state in sorted(states.items()):
        verdict = _blind_receive(state, states) if failed else None
        if verdict is not None:
            return verdict
        for (peer, comm, tag), channel in state.received:
            sender = states.get(peer)
            if sender is None or tag <= HOPS:
                continue
            sent = dict(sender.sent).get((receiver, comm, tag))
            for run in channel.runs if sent else []:
                last = min(channel.done, sent.posted)
                numbers = {run.first, last} if run.first <= last else set()
                for number in numbers if failed else numbers - set(channel.failed):
                    other, mine = sent.run_of(number), channel.run_of(number)
                    if other and mine and (other.dtype, other.nbytes) != (mine.dtype, mine.nbytes):
                        return _wrong_message(peer, other, receiver, mine, tag)
    return None


def _blind_receive(state: Snapshot, states: States) -> Verdict | None:
    """A receive with a wildcard has raised: compare the next message that it could have taken."""
    received = dict(state.received)
    for blind in state.blind:
        for sender in states.values():
            for (dest, comm, tag), channel in sender.sent:
                fits = blind.peer in (sender.rank, ANY_SOURCE) and blind.tag in (tag, ANY_TAG)
                if dest != state.rank or comm != blind.comm or tag <= HOPS or not fits:
                    continue
                mine = received.get((sender.rank, comm, tag))
                run = channel.run_of((mine.posted if mine else 0) + 1)
                if run and (run.dtype, run.nbytes) != (blind.dtype, blind.nbytes):
                    return _wrong_message(sender.rank, run, state.rank, blind, tag)
    return None


def _wrong_message(sender: int, sent, receiver: int, mine, tag: int) -> Verdict:
    kind = "message dtype" if sent.dtype != mine.dtype else "message size"
    lines = [
        f"rank {sender}  sends {sent.nbytes} bytes of {_name(sent.dtype)} (tag {tag}) at {sent.site}",
        f"rank {receiver}  receives {mine.nbytes} bytes of {_name(mine.dtype)} at {mine.site}",
    ]
    return Verdict(kind, [(receiver, mine.site), (sender, sent.site)], lines)


def _name(code: str) -> str:
    return np.dtype(code).name


# ---- deadlocks
def find_deadlock(states: States, size: int, strict: bool, exact: bool = False) -> Verdict | None:
    """The ranks that can never go on, and why."""
    stuck = never_go_on(states, size, strict, exact)
    waiting = {r: states[r] for r in sorted(stuck) if states[r].doing.op != "gone"}
    return _explain(waiting, stuck, states, size) if waiting else None


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
        return not any(r in stuck for r in _not_yet_in(me, states))
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
    sources = _sources(me, states, size)
    if any(source not in stuck for source in sources):
        return True
    return any(_is_there(me, states[source]) for source in sources)


def _sources(me: Snapshot, states: States, size: int) -> list[int]:
    """The ranks that could send what this rank waits for."""
    if me.doing.peer != ANY_SOURCE:
        return [me.doing.peer]
    return [r for r in range(size) if r != me.rank and (r not in states or _knows(states[r], me.doing.comm))]


def _knows(state: Snapshot, comm: str) -> bool:
    return comm == "world" or comm in state.calls or any(key[1] == comm for key, _ in state.sent)


def _is_there(me: Snapshot, sender: Snapshot) -> bool:
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


def _not_yet_in(me: Snapshot, states: States) -> list[int]:
    """Members of a native collective that have not called it."""
    comm, number = me.inside
    calls = me.calls[comm]
    return [r for r in calls.members if r in states and _entered(states[r].calls.get(comm)) < number]


def _entered_now(me: Snapshot) -> Entered:
    """The collective that the rank is in: the last one, or one that it has started before."""
    comm, number = me.inside
    calls = me.calls[comm]
    return calls.last[max(number - 1 - calls.entered, -len(calls.last))]


def _entered(calls: Calls | None) -> int:
    return calls.entered if calls else 0


# ---- the reason
def _explain(waiting: States, stuck: set[int], states: States, size: int) -> Verdict:
    lines = [_line(state) for state in waiting.values()]
    # ranks that wait for one another in messages of their own; others may only wait for them
    cycle = _cycle({r: s for r, s in waiting.items() if s.inside is None}, states, size)
    cause = {r: waiting[r] for r in cycle} or waiting
    for look in (_left_unreceived,) if cycle else (_left_unreceived, _missing, _waits_for_gone):
        verdict = look(cause, states, size)
        if verdict is not None:
            verdict.lines = [*lines, *verdict.lines]
            return verdict
    cycle = cycle or _cycle(waiting, states, size)
    around = cycle[:-1] or list(waiting)
    ops = {states[r].doing.op for r in around}
    if any(states[r].doing.peer == ANY_SOURCE and "recv" in states[r].doing.op for r in around):
        kind, around = "any-source knot", list(waiting)  # each waits for all of them
    else:
        kind = "send ring" if ops <= {"send", "wait send"} else "receive cycle"
    return Verdict(kind, [(r, states[r].doing.site) for r in sorted(around)], lines, cycle)


def _line(state: Snapshot) -> str:
    doing = state.doing
    if state.inside is None:
        return f"rank {state.rank}  waits in {_call(doing)} at {doing.site}"
    comm, number = state.inside
    entered = _entered_now(state)
    whom = "" if doing.op == "native" else f", for rank {doing.peer}"
    return (
        f"rank {state.rank}  waits in {entered.kind}, collective {number} of {comm}{whom} at {entered.site}"
    )


def _call(doing: Doing) -> str:
    """The call as the user wrote it."""
    tag = "" if doing.tag == ANY_TAG else f", tag={doing.tag}"
    on = "" if doing.comm == "world" else f" on {doing.comm}"
    source = "ANY_SOURCE" if doing.peer == ANY_SOURCE else doing.peer
    if doing.op == "native":
        return f"a collective{on}"
    if doing.tag <= HOPS:
        return f"test of a started collective{on}"
    if doing.op == "sendrecv":
        return f"sendrecv(dest={doing.dest}, source={source}{tag}){on}"
    if doing.op in ("send", "wait send"):
        name = "send" if doing.op == "send" else "wait of isend"
        return f"{name}(dest={doing.peer}{tag}){on}, {doing.nbytes} bytes"
    name = {"recv": "recv", "poll": "test of irecv"}.get(doing.op, "wait of irecv")
    return f"{name}(source={source}{tag}){on}"


def _left_unreceived(waiting: States, states: States, size: int) -> Verdict | None:
    """A rank waits for one message, while another one lies there for it."""
    found = []
    for me in waiting.values():
        doing = me.doing
        if doing.tag <= HOPS or doing.op not in ("recv", "wait recv", "sendrecv", "poll"):
            continue
        received = dict(me.received)
        for other in states.values():
            for (peer, comm, tag), channel in other.sent:
                mine = received.get((other.rank, comm, tag))
                if peer != me.rank or tag <= HOPS or channel.posted <= (mine.posted if mine else 0):
                    continue
                kind = _how_it_differs(doing, other.rank, comm, tag)
                run = channel.run_of((mine.posted if mine else 0) + 1)
                if kind is not None and run is not None:
                    found.append((kind, me, other.rank, comm, tag, run))
    order = ("wrong tag", "wrong communicator", "wrong peer")
    for kind, me, sender, comm, tag, run in sorted(found, key=lambda row: order.index(row[0])):
        line = f"rank {sender}  sent rank {me.rank} a message with tag {tag} on {comm} at {run.site}"
        return Verdict(kind, [(me.rank, me.doing.site), (sender, run.site)], [f"{line}: not received"])
    return None


def _how_it_differs(doing: Doing, sender: int, comm: str, tag: int) -> str | None:
    same = (doing.peer in (sender, ANY_SOURCE), doing.comm == comm, doing.tag in (tag, ANY_TAG))
    return {
        (True, True, False): "wrong tag",
        (True, False, True): "wrong communicator",
        (False, True, True): "wrong peer",
    }.get(same)


def _missing(waiting: States, states: States, size: int) -> Verdict | None:
    """Some wait inside a collective that others have not called and never will."""
    for me in waiting.values():
        if me.inside is None:
            continue
        absent = [r for r in _not_yet_in(me, states) if states[r].doing is not None]
        if not absent:
            continue
        blame = [(r, _site(states[r])) for r in absent]
        comm, number = me.inside
        kind = _entered_now(me).kind
        lines = [_ended(states[r]) for r in absent if states[r].doing.op == "gone"]
        named = ", ".join(f"rank {r}" for r in absent)
        return Verdict(
            "missing collective", blame, [*lines, f"{kind}, collective {number} of {comm}, lacks {named}"]
        )
    return None


def _waits_for_gone(waiting: States, states: States, size: int) -> Verdict | None:
    for me in waiting.values():
        for r in _targets(me, states, size):
            if r in states and states[r].doing is not None and states[r].doing.op == "gone":
                return Verdict("ended rank", [(r, _site(states[r]))], [_ended(states[r])])
    return None


def _ended(state: Snapshot) -> str:
    return f"rank {state.rank}  has ended; its last call was at {state.doing.site}"


def _site(state: Snapshot) -> str:
    if state.inside is not None:
        return _entered_now(state).site
    return state.doing.site


def _targets(me: Snapshot, states: States, size: int) -> list[int]:
    """The ranks this one waits for."""
    doing = me.doing
    if doing.op == "native":
        return _not_yet_in(me, states)
    if doing.op in ("send", "wait send"):
        return [doing.peer]
    sources = _sources(me, states, size)
    there = any(_is_there(me, states[source]) for source in sources if source in states)
    return [doing.dest] if doing.op == "sendrecv" and there else sources


def _cycle(waiting: States, states: States, size: int) -> list[int]:
    """Ranks that wait for one another in a ring, the first repeated at the end."""
    for start in waiting:
        path = [start]
        while True:
            following = [r for r in _targets(waiting[path[-1]], states, size) if r in waiting]
            if not following:
                break
            if following[0] in path:
                return [*path[path.index(following[0]) :], following[0]]
            path.append(following[0])
    return []


# ---- at the end of all ranks
def find_uncalled(states: States) -> Verdict | None:
    """A collective that some ranks have called and others, which have ended, have not."""
    for comm in sorted({comm for state in states.values() for comm in state.calls}):
        members = next(s.calls[comm].members for s in states.values() if comm in s.calls)
        entered = {r: _entered(states[r].calls.get(comm)) for r in members if r in states}
        number = max(entered.values())
        absent = [r for r, count in entered.items() if count < number]
        if not absent:
            continue
        there = next(states[r].calls[comm].last[-1] for r, count in entered.items() if count == number)
        lines = [f"rank {r}  has ended after its call at {_site(states[r])}" for r in absent]
        lines.append(f"{there.kind}, collective {number} of {comm}, was called by others at {there.site}")
        return Verdict("missing collective", [(r, _site(states[r])) for r in absent], lines)
    return None


def find_leftovers(states: States) -> Verdict | None:
    """Messages to or from ranks that have ended, which nobody will receive."""
    for sender, state in sorted(states.items()):
        for (dest, comm, tag), channel in state.sent:
            other = states.get(dest)
            if tag <= HOPS or other is None or other.doing is None or other.doing.op != "gone" or other.blind:
                continue
            mine = dict(other.received).get((sender, comm, tag))
            taken = mine.done if mine else 0
            run = channel.run_of(taken + 1)
            if channel.posted > taken and run is not None:
                what = f"rank {sender}  sent rank {dest} a message with tag {tag} on {comm} at {run.site}"
                lines = [what, f"rank {dest}  has ended without receiving it"]
                return Verdict("message never received", [(sender, run.site)], lines)
    return None
