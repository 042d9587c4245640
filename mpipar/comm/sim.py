"""`mpipar sim`: a script, unchanged, on virtual ranks.

Every rank runs the script's code in a `__main__` of its own; see isolation.py for what else is
apart. A rank that raises ends the run with its traceback; one that calls sys.exit() or
sys.exit(0) ends alone, and with another status ends the run with that status.
"""

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mpipar.comm.isolation import Ranks
from mpipar.comm.judge import exited, from_error
from mpipar.comm.network import Topology
from mpipar.comm.verdict import Verdict
from mpipar.comm.virtual import Job
from mpipar.errors import DeadlockError, LaunchError
from mpipar.failure import SETTING_ERRORS
from mpipar.trace import site_of

Watch = Callable[[Job], Callable[[Any, float], None]]  # a job -> what to call before each message


def run_script(
    script: str,
    arguments: list[str],
    size: int,
    topology: Topology,
    compute: str = "none",
    watch: Watch | None = None,
) -> int:
    """Run a script on so many virtual ranks.   returns: the exit status

    errors: LaunchError without such a file; SyntaxError
    """
    path = Path(script).absolute()
    if not path.is_file():
        raise LaunchError(f"there is no script {script}; name a Python file")
    code = compile(path.read_bytes(), str(path), "exec")
    job, ranks = Job(size, topology, compute), Ranks(size, path.parent)
    job.scheduler.resumed = ranks.turn
    if watch is not None:
        job.scheduler.before_message = watch(job)

    def body(rank: int) -> None:
        exec(code, ranks.modules.main(rank, path))

    try:
        with ranks.apart([script, *arguments]):
            job.run(body)
    except BrokenPipeError:  # the reader of our output has gone, as with `| head`: the command line's to end
        raise
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        return _report(error, size, str(path))
    for warning in job.warnings:
        print(warning.text, end="", file=sys.stderr)
    return 0


def _verdict(error: BaseException, rank: int | None) -> Verdict | None:
    known = getattr(error, "verdict", None)
    return known or from_error(error, error.__traceback__, rank)


def _line(error: BaseException, script: str) -> str:
    """The last line of the script that the error passed."""
    trace, line = error.__traceback__, 0
    while trace is not None:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == script else line
        trace = trace.tb_next
    return site_of(script, line)


def _report(error: BaseException, size: int, script: str) -> int:
    """Say what ended the run.   returns: its status"""
    rank = getattr(error, "rank", None)
    if isinstance(error, SystemExit):
        print(exited(rank, error.code, _line(error, script)).text, end="", file=sys.stderr)
        return error.code if isinstance(error.code, int) else 1
    elif isinstance(error, KeyboardInterrupt):
        print("mpipar: interrupted", file=sys.stderr)
        return 130
    elif (verdict := _verdict(error, rank)) is not None:
        print(verdict.text, end="", file=sys.stderr)
    elif isinstance(error, (DeadlockError, *SETTING_ERRORS)):
        print(f"mpipar: {error}", file=sys.stderr)
    else:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename != script:
            trace = trace.tb_next  # our own frames above the script say nothing to its author
        lines = traceback.format_exception(type(error), error, trace or error.__traceback__)
        print(f"rank {rank} of {size} failed:\n" + "".join(lines), end="", file=sys.stderr)
    return 1
