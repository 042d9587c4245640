"""Collectives that the ranks of a communicator call differently, or that some never call."""

from collections import Counter

from mpipar.comm.ledger import Entered, States
from mpipar.comm.stuck import site_now, times_entered
from mpipar.comm.verdict import Verdict

DIFFERENCES = (  # field of Entered, class of mistake, most telling first
    ("kind", "different collectives"),
    ("root", "different roots"),
    ("op", "different ops"),
    ("dtype", "different dtypes"),
    ("count", "different counts"),
    ("algorithm", "different algorithms"),
)


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


def find_uncalled(states: States) -> Verdict | None:
    """A collective that some ranks have called and others, which have ended, have not."""
    for comm in sorted({comm for state in states.values() for comm in state.calls}):
        members = next(s.calls[comm].members for s in states.values() if comm in s.calls)
        entered = {r: times_entered(states[r], comm) for r in members if r in states}
        number = max(entered.values())
        absent = [r for r, count in entered.items() if count < number]
        if not absent:
            continue
        there = next(states[r].calls[comm].last[-1] for r, count in entered.items() if count == number)
        lines = [f"rank {r}  has ended after its call at {site_now(states[r])}" for r in absent]
        lines.append(f"{there.kind}, collective {number} of {comm}, was called by others at {there.site}")
        return Verdict("missing collective", [(r, site_now(states[r])) for r in absent], lines)
    return None
