"""The command line in a process forked from one that has imported it: half a CPU-second less a call.

    python tests/forked.py

reads a line of JSON a call from standard input, {words, environment, folder, files}, and answers with
the number of the process that runs `mpipar words…`, and then with its status. What is read at import
cannot change from call to call, so there is one such process a backend; see `can_fork`.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

BACKENDS = ("numpy", "fake")  # a GPU's context does not survive a fork
IMPORTED = ("mpipar.cli.train", "mpipar.comm.sim", "mpipar.data", "mpipar.view.html", "mpipar.view.figure",
            "mpipar.view.perfetto", "mpipar.view.why", "mpipar.view.diff")  # fmt: skip
USED = ["schedule", "draw", "1f1b", "-n", "2", "-m", "2"]  # a call that makes typer and rich import the rest


def can_fork(backend: str, environment: dict[str, str]) -> bool:
    """Whether a forked process would be as a fresh one. One that is measured by coverage would not."""
    measured = any(name.startswith("COVERAGE_PROCESS") for name in environment)
    return backend in BACKENDS and not measured


class Forks:
    """Runs calls, one at a time, in forks of one process.   environment: of which the backend counts"""

    def __init__(self, environment: dict[str, str]) -> None:
        self._parent = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # or `select` would not see a line that has been read ahead
            env=environment,
        )
        atexit.register(self._parent.communicate)  # closes its input, at which it ends

    def run(
        self, words: list[str], environment: dict[str, str], limit: float, keys: str = ""
    ) -> subprocess.CompletedProcess:
        """`mpipar words…`.   keys: its standard input   errors: TimeoutExpired after `limit` seconds"""
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder, name) for name in ("in", "out", "err")]
            files[0].write_text(keys)
            call = {"words": words, "environment": environment, "folder": os.getcwd()}
            self._parent.stdin.write(json.dumps({**call, "files": [*map(str, files)]}).encode() + b"\n")
            number = int(self._parent.stdout.readline())
            in_time = select.select([self._parent.stdout], [], [], limit)[0]
            if not in_time:
                os.kill(number, signal.SIGKILL)
            status = int(self._parent.stdout.readline())
            out, errors = (file.read_text() for file in files[1:])
        if not in_time:
            raise subprocess.TimeoutExpired(words, limit, out, errors)
        return subprocess.CompletedProcess(words, status, out, errors)


def prepare() -> None:
    """Import what the calls use."""
    from mpipar.cli.main import app, typer

    for name in IMPORTED:
        importlib.import_module(name)
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        typer.main.get_command(app)(USED, standalone_mode=False)
    gc.freeze()


def serve() -> dict:
    """Fork for every line of standard input.   returns: in a fork, its call; at the end {}"""
    answer = os.fdopen(os.dup(1), "w", buffering=1)
    for line in sys.stdin:
        number = os.fork()
        if number == 0:
            return json.loads(line)
        print(number, file=answer)
        print(os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]), file=answer)
    return {}


def become(words: list[str], environment: dict[str, str], folder: str, files: list[str]) -> int:
    """Be the process that `python -m mpipar.cli words…` would be in this folder and environment.

    returns: its status
    """
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, (file, mode) in enumerate(zip(files, ("r", "w", "w"), strict=True)):
        with open(file, mode) as opened:
            os.dup2(opened.fileno(), number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    sys.argv[1:], sys.path[0] = words, folder
    try:
        runpy.run_module("mpipar.cli", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def end() -> None:
    """The last of a process's exit functions, instead of taking apart what was imported."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    status = 0
    atexit.register(end)
    prepare()
    call = serve()
    if call:
        status = become(**call)
