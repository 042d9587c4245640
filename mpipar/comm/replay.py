"""Would the program have ended if MPI had put no message aside?

A send may return before its message is received only because MPI buffered it, which it need not
do and does not above some size. So the logs of a run that ended are gone through again, with
every send waiting for its receive: a step is done when its partner's step has been started.
Whoever cannot reach the end of the log would have waited for ever.   cost: each step once.
"""

from collections import defaultdict

from mpipar.comm.ledger import STEPS_KEPT, Step
from mpipar.comm.verdict import Verdict

Channel = tuple[int, int, str, int]  # sender, receiver, communicator, tag


def would_deadlock(
    logs: dict[int, list[Step]], members: dict[str, list[int]] | None = None
) -> Verdict | None:
    """A warning with the sends that only passed because they were buffered.

    members: world ranks of each communicator that has collectives
    """
    entered: dict[tuple[str, int], set[int]] = defaultdict(set)  # ranks that have come to a collective
    at = dict.fromkeys(logs, 0)
    sent: dict[Channel, int] = defaultdict(int)
    posted: dict[Channel, int] = defaultdict(int)
    moved = True
    # of a rank on another node, or beyond the end of a log that was cut, anything may be
    unknown = {step.peer for log in logs.values() for step in log} - {*logs, -1}
    while moved:
        moved = False
        unknown |= {rank for rank, log in logs.items() if at[rank] == len(log) >= STEPS_KEPT}
        for rank, log in logs.items():
            while at[rank] < len(log):
                step = log[at[rank]]
                if step.peer == -1:
                    come = entered[step.comm, step.number]
                    come.add(rank)
                    done = set((members or {}).get(step.comm, [])) <= come | unknown
                else:
                    done = _done(rank, step, sent, posted, unknown)
                if not done:
                    break
                at[rank] += 1
                moved = True
    left = {rank: log[at[rank]] for rank, log in logs.items() if at[rank] < len(log)}
    sends = {rank: step for rank, step in left.items() if step.op in ("send", "wait send")}
    cycle = _cycle(left)
    blame = [(rank, sends[rank].site) for rank in sorted(set(cycle or sends)) if rank in sends]
    if not blame:
        return None
    lines = [f"rank {r}  would wait for {_whom(s)} in {s.op} at {s.site}" for r, s in sorted(left.items())]
    lines.append("all of it passed only because the messages were small enough to be buffered")
    return Verdict("buffered sends", blame, lines, cycle, level="warning")


def _done(rank: int, step: Step, sent: dict, posted: dict, unknown: set[int]) -> bool:
    """Start the step; whether it is also finished."""
    sends = step.op in ("send", "isend", "wait send")
    channel = (rank, step.peer, step.comm, step.tag) if sends else (step.peer, rank, step.comm, step.tag)
    started, partner = (sent, posted) if sends else (posted, sent)
    if not step.op.startswith("wait"):
        started[channel] = max(started[channel], step.number)
    return step.op in ("isend", "irecv") or partner[channel] >= step.number or step.peer in unknown


def _whom(step: Step) -> str:
    return "all ranks" if step.peer == -1 else f"rank {step.peer}"


def _cycle(left: dict[int, Step]) -> list[int]:
    for start in left:
        path = [start]
        while left[path[-1]].peer in left:
            following = left[path[-1]].peer
            if following in path:
                return [*path[path.index(following) :], following]
            path.append(following)
    return []
