"""From the ledgers of all ranks to a verdict: pure functions, no communication.

A verdict says why ranks do not go on, in the words of who wrote the program: a tag that nobody sends,
a collective that one rank left out, a ring of sends that all wait for each other.
"""

from mpipar.comm.ledger import HOPS, Doing, Snapshot, States
from mpipar.comm.mismatch import find_mismatch
from mpipar.comm.stuck import entered_now, is_there, never_go_on, not_yet_in, site_now, sources_of
from mpipar.comm.transport import ANY_SOURCE, ANY_TAG
from mpipar.comm.verdict import Verdict
from mpipar.comm.wrong_message import find_wrong_message


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


def find_deadlock(states: States, size: int, strict: bool, exact: bool = False) -> Verdict | None:
    """The ranks that can never go on, and why."""
    stuck = never_go_on(states, size, strict, exact)
    waiting = {r: states[r] for r in sorted(stuck) if states[r].doing.op != "gone"}
    return _explain(waiting, states, size) if waiting else None


def _explain(waiting: States, states: States, size: int) -> Verdict:
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
    entered = entered_now(state)
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
        absent = [r for r in not_yet_in(me, states) if states[r].doing is not None]
        if not absent:
            continue
        blame = [(r, site_now(states[r])) for r in absent]
        comm, number = me.inside
        kind = entered_now(me).kind
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
                return Verdict("ended rank", [(r, site_now(states[r]))], [_ended(states[r])])
    return None


def _ended(state: Snapshot) -> str:
    return f"rank {state.rank}  has ended; its last call was at {state.doing.site}"


def _targets(me: Snapshot, states: States, size: int) -> list[int]:
    """The ranks this one waits for."""
    doing = me.doing
    if doing.op == "native":
        return not_yet_in(me, states)
    if doing.op in ("send", "wait send"):
        return [doing.peer]
    sources = sources_of(me, states, size)
    there = any(is_there(me, states[source]) for source in sources if source in states)
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
