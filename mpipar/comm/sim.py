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
from mpipar.comm.network import Topology
from mpipar.comm.virtual import Job
from mpipar.errors import DeadlockError, LaunchError
from mpipar.failure import SETTING_ERRORS

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
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        return _report(error, size, str(path))
    return 0


def _report(error: BaseException, size: int, script: str) -> int:
    """Say what ended the run.   returns: its status"""
    rank = getattr(error, "rank", None)
    if isinstance(error, SystemExit):
        if isinstance(error.code, int):
            return error.code
        print(error.code, file=sys.stderr)
    elif isinstance(error, KeyboardInterrupt):
        print("mpipar: interrupted", file=sys.stderr)
        return 130
    elif isinstance(error, (DeadlockError, *SETTING_ERRORS)):
        print(f"mpipar: {error}", file=sys.stderr)
    else:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename != script:
            trace = trace.tb_next  # our own frames above the script say nothing to its author
        lines = traceback.format_exception(type(error), error, trace or error.__traceback__)
        print(f"rank {rank} of {size} failed:\n" + "".join(lines), end="", file=sys.stderr)
    return 1
