"""How a program ends when something is raised: loudly, and on all ranks.

One rank that raises leaves the others waiting for its messages for ever, so its traceback is
printed and the whole job is ended. A wrong setting (an unknown backend, a bad trace folder) is
one sentence without a traceback, and once, since every rank meets it.
"""

import os
import stat
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType

from mpipar.errors import BackendError, CheckpointError, LaunchError, MpiparError, OptionError, TraceError
from mpipar.settings import settings

SETTING_ERRORS = (BackendError, CheckpointError, LaunchError, OptionError, TraceError)
# s: where all ranks fail alike, rank 0 is read first, and ends the others before they speak
PAUSE, LONG_PAUSE = 0.03, 2.0
MPIRUNS = ("mpirun", "mpiexec", "prterun", "orterun")
HEARD = 0.15  # s until mpirun has passed on what was printed, before its own words about the end

_explain: list[Callable[[BaseException, TracebackType | None], None]] = []
_exited: list[tuple[object, FrameType]] = []
_before_the_end: list[Callable[[], None]] = []  # what to save before the job is ended


def install() -> None:
    """Make `report` the handler of uncaught exceptions, in threads too, and remember sys.exit."""
    sys.excepthook = report
    threading.excepthook = lambda args: report(args.exc_type, args.exc_value, args.exc_traceback)
    sys.exit = _exit


def exit_call() -> tuple[object, FrameType] | None:
    """The status and the caller of the sys.exit that is ending this process, if one is."""
    return _exited[-1] if _exited else None


def failed_exit() -> bool:
    """Whether this process ends by sys.exit with a status that is not 0."""
    return bool(_exited) and _exited[-1][0] not in (None, 0)


def _exit(status: object = None) -> None:
    _exited[:] = [(status, sys._getframe(1))]
    raise SystemExit(status)


def before_the_end(action: Callable[[], None]) -> None:
    """Run the action when an exception ends the job, after its traceback is printed; last in, first out."""
    _before_the_end.append(action)


def explain_with(action: Callable[[BaseException, TracebackType | None], None]) -> None:
    """Ask `action` first when an exception ends the job: it may know the cause, and end it itself."""
    _explain[:] = [action]


def end_now() -> None:
    """Save and end what `before_the_end` was given, each of it whatever becomes of the others."""
    for action in reversed(_before_the_end):
        with suppress(Exception):  # a full disk must not keep the job from being ended
            action()


def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print what was raised, then save and end what `before_the_end` was given."""
    for action in _explain:
        action(error, trace)
    here = _launcher()
    rank = here[0] if here else 0
    if isinstance(error, SETTING_ERRORS):
        text = f"mpipar: {error}\n"
        time.sleep(LONG_PAUSE if rank else 0)
    else:
        who = "" if here is None else f"rank {rank} of {here[1]} failed:\n"
        text = who + "".join(traceback.format_exception(kind, error, trace))
        time.sleep(PAUSE * min(rank, 16))
    with suppress(Exception):
        sys.stdout.flush()
    say(text)
    if here is not None:
        time.sleep(HEARD)
    end_now()


def say(text: str) -> None:
    """Print to where mpirun itself prints errors: what goes through mpirun may come after mpirun's
    own words about the end, or not at all. One write, so that two ranks' lines do not mix.
    """
    data = text.encode(errors="replace")
    try:
        parent = f"/proc/{os.getppid()}"
        with open(f"{parent}/cmdline", "rb") as command:
            is_mpirun = Path(os.fsdecode(command.read().split(b"\0")[0])).name in MPIRUNS
        # two writers of one file would write over each other, but a pipe or a terminal takes both
        is_file = stat.S_ISREG(os.stat(f"{parent}/fd/2").st_mode)
        if is_mpirun and not is_file:
            with open(f"{parent}/fd/2", "ab", buffering=0) as stderr:
                stderr.write(data)
            return
    except OSError:  # no /proc, another user's mpirun, or its stderr is a socket
        pass
    os.write(2, data)


def _launcher() -> tuple[int, int] | None:
    try:
        now = settings()
    except MpiparError:  # a bad value in the environment is what is being reported
        return None
    return (now.launcher_rank, now.launcher_size) if now.launcher_size > 1 else None
