"""Tests that run on several ranks, under a real mpirun and on virtual ranks.

    @ranks(1, 2, 3, 4)
    def test_sum(world):
        assert world.allreduce(np.ones(3))[0] == world.size

Pytest sees one test a transport and rank count, as test_sum[mpirun-3]. The first mpirun test of
a rank count that is asked for starts one mpirun, which runs every selected test of that count,
so that many tests cost one launch. A test that fails or hangs on any rank ends that launch; the
rest runs in a new one. Virtual ranks run in pytest's own process.
"""

import json
import subprocess
import sys
from functools import cache, partial
from pathlib import Path
from threading import get_ident

import pytest
from forked import Forks, can_fork

from mpipar.arrays import BACKEND
from mpipar.comm import find_launcher
from mpipar.comm.launch import until_executed
from mpipar.comm.virtual import run as run_virtual

RUNNER = Path(__file__).parent / "rank_runner.py"
LIMIT = 240  # s for one launch; rank_runner.py limits each test
SLOWER = 5 if BACKEND == "cupy" else 1  # a GPU's kernels are compiled when they are first used


def ranks(*sizes, virtual=None):
    """Run the decorated function(world) as a test at each of these rank counts.

    virtual: the counts on virtual ranks, by default the same; () where only a real MPI will do
    """
    where = [("mpirun", size) for size in _under_mpirun(sizes)]
    where += [("virtual", size) for size in _virtual(sizes if virtual is None else virtual)]

    def decorate(check):
        @pytest.mark.parametrize("transport, size", where)
        def test(transport, size, mpirun_batches):
            if transport == "virtual":
                run_virtual(check, size)
                return
            failure = mpirun_batches.failure_of(check.__module__, check.__name__, size)
            if failure:
                pytest.fail(failure, pytrace=False)

        test.__name__, test.__doc__, test.check = check.__name__, check.__doc__, check
        return test

    return decorate


def _under_mpirun(sizes):
    """On a device one count is enough: what differs there, copies, does not depend on it."""
    return sizes if BACKEND == "numpy" else (max((size for size in sizes if size <= 3), default=min(sizes)),)


def _virtual(sizes):
    return [size for size in sizes if size <= 4] or sizes[:1] if BACKEND == "fake" else sizes


class Batches:
    """Outcomes of the selected rank tests, found by one mpirun a rank count."""

    def __init__(self, items, folder: Path) -> None:
        self._folder = folder
        self._selected: dict[int, list[tuple[str, str, str]]] = {}
        for item in items:
            function = getattr(item, "function", None)
            if hasattr(function, "check") and item.callspec.params["transport"] == "mpirun":
                where = (str(item.path), function.check.__module__, function.check.__name__)
                self._selected.setdefault(item.callspec.params["size"], []).append(where)
        self._failures: dict[int, dict[tuple[str, str], str]] = {}

    def failure_of(self, module: str, name: str, size: int) -> str:
        """'' if the test passed on all ranks, else what each rank had to say."""
        if size not in self._failures:
            self._failures[size] = self._run_all(size)
        return self._failures[size][module, name]

    def _run_all(self, size: int) -> dict[tuple[str, str], str]:
        failures, left = {}, list(self._selected[size])
        while left:
            passed, failure = self._launch(size, left)
            for test in left[:passed]:
                failures[test[1:]] = ""
            if passed < len(left):
                failures[left[passed][1:]] = failure
            left = left[passed + 1 :]
        return failures

    def _launch(self, size: int, tests: list) -> tuple[int, str]:
        """How many tests passed on all ranks before the first that did not, and why it did not."""
        out = self._folder / f"n{size}-{len(tests)}"
        out.mkdir()
        (out / "tests.json").write_text(json.dumps(tests))
        run = run_ranks(size, [str(RUNNER), str(out)], limit=LIMIT)
        reports = [(out / f"rank-{r}.txt") for r in range(size)]
        lines = [report.read_text().splitlines() if report.exists() else [] for report in reports]
        passed = min(sum(line == "passed" for line in rank) for rank in lines)
        if passed == len(tests):
            return passed, ""
        said = [
            f"--- rank {r}\n{(out / f'failure-{r}.txt').read_text()}"
            for r in range(size)
            if (out / f"failure-{r}.txt").exists() and (out / f"failure-{r}.txt").stat().st_size
        ]
        return passed, "\n".join(said) or f"mpirun ended with {run.returncode}:\n{run.stdout}\n{run.stderr}"


launcher_here = cache(find_launcher)  # it asks mpirun for its version


def run_ranks(size: int, program: list[str], limit: float = 60, **environment: str):
    """Run python with these arguments under mpirun; ends after `limit` seconds whatever happens.

    returns: a CompletedProcess with text output; its status is 124 after a time-out
    """
    launcher = launcher_here()
    command = ["timeout", "-k", "5", str(limit * SLOWER), *launcher.command(size, program)]
    environ = launcher.environment(**environment)
    start = partial(subprocess.run, command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return until_executed(lambda: start(check=False, env=environ), lambda run: run.returncode)


def run_python(
    program: list[str], limit: float = 60, keys: str | None = None, fresh: bool = False, **environment: str
):
    """Run python with these arguments, without mpirun.

    keys: what it reads from standard input;   fresh: a process of its own also for -m mpipar.cli,
    which else is forked from one that has imported it
    """
    environ = launcher_here().environment(**environment)
    backend = environ.get("MPIPAR_BACKEND", BACKEND)
    if program[:2] == ["-m", "mpipar.cli"] and not fresh and can_fork(backend, environ):
        return _forks_of(backend, get_ident()).run(program[2:], environ, limit, keys or "")
    return subprocess.run(
        [sys.executable, *program],
        check=False,
        capture_output=True,
        text=True,
        input=keys or "",
        env=environ,
        timeout=limit * SLOWER,
    )


@cache
def _forks_of(backend: str, thread: int) -> Forks:
    """A thread's own, since they run one call at a time."""
    return Forks(launcher_here().environment(MPIPAR_BACKEND=backend))
