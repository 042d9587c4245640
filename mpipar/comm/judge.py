"""From how a rank or a job has ended to a verdict; used under mpirun and on virtual ranks alike."""

from pathlib import Path
from types import TracebackType

from mpipar.comm.ledger import Ledger, Snapshot, States, steps_of
from mpipar.comm.mismatch import find_mismatch, find_uncalled
from mpipar.comm.replay import would_deadlock
from mpipar.comm.verdict import Verdict
from mpipar.comm.wrong_message import find_leftovers, find_wrong_message
from mpipar.errors import MpiparError, VerdictError
from mpipar.trace import site_of

COMM = str(Path(__file__).parent)
CALLED = ("messages.py", "communicator.py")  # a user's call goes through one of them; world() does not


def final_snapshot(ledger: Ledger, site: str = "", pid: int = 0) -> Snapshot:
    """The ledger of a rank that has ended, with its log."""
    ledger.enter("gone", -2, "", 0, 0, 0, -2, 0, 0, site or ledger.last_line)
    snapshot = ledger.snapshot(True, pid=pid)
    snapshot.steps = steps_of(ledger.steps)
    return snapshot


def never_waited_for(ledger: Ledger) -> Verdict | None:
    """Requests that are still under way when the rank ends."""
    left = [request for request in ledger.requests.values() if not request.hops]
    if not left:
        return None
    lines = [f"rank {ledger.rank}  {r.op} at {r.site} was never waited for" for r in left]
    return Verdict("request never completed", [(ledger.rank, r.site) for r in left], lines)


def raced(ledger: Ledger) -> Verdict | None:
    """A note about receives of this rank that could have taken each other's message."""
    if not ledger.races:
        return None
    lines = [f"rank {ledger.rank}  which of these receives takes which message depends on who is first"]
    return Verdict("message race", [(ledger.rank, site) for site in ledger.races], lines, level="note")


def exited(rank: int, status: object, site: str) -> Verdict:
    """A rank ended by itself with a status that is not 0."""
    return Verdict("rank exited", [(rank, site)], [f"rank {rank}  called sys.exit({status!r}) at {site}"])


def last_words(states: States, strict: bool) -> Verdict | None:
    """All ranks have ended: what did not fit, what is left over, and what passed by luck?"""
    wrong = (
        find_mismatch(states, {})
        or find_wrong_message(states)
        or find_uncalled(states)
        or find_leftovers(states)
    )
    if wrong is not None or strict:
        return wrong
    members = {comm: calls.members for state in states.values() for comm, calls in state.calls.items()}
    return would_deadlock({rank: state.steps or [] for rank, state in states.items()}, members)


def behind_error(states: States) -> Verdict | None:
    """Another rank's mistake that made this one's call fail."""
    return find_mismatch(states, {}) or find_wrong_message(states, failed=True)


def from_error(error: BaseException, trace: TracebackType | None, rank: int) -> Verdict | None:
    """The verdict about a call of mpipar/comm that was refused; None for other exceptions."""
    if isinstance(error, VerdictError):
        return error.verdict
    site = blamed_line(trace)
    if site is None or not isinstance(error, MpiparError):
        return None
    return Verdict("invalid argument", [(rank, site)], str(error).splitlines())


def blamed_line(trace: TracebackType | None) -> str | None:
    """The line that called into mpipar/comm, where the exception came from there."""
    site, inside, called = None, False, False
    while trace is not None:
        code = trace.tb_frame.f_code
        inside = code.co_filename.startswith(COMM)
        if not inside:
            site, called = site_of(code.co_filename, trace.tb_lineno), False
        else:
            called = called or Path(code.co_filename).name in CALLED
        trace = trace.tb_next
    return site if inside and called else None
