"""Where the host waits for the device, and the checks of values that it puts off until then.

An operation that looked at values at once (is every label a class?) would make the host wait for the
device once an operation. So it has the device compute whether something is wrong, and goes on, as with
CUDA's device-side assertions. The answers come to the host, all in one copy, where it waits anyhow: in
`to_host` and `synchronize`, before a message that is staged, and at the end; and before a collective,
so that ranks with the same wrong value all raise. A program that does none of this puts off `MOST`
checks; then the older half is looked at, which the device has long computed.

Until then the program goes on with the wrong values: a GPU takes an index modulo the length.
"""

import atexit
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from mpipar.arrays.backend import BACKEND, on_device, xp
from mpipar.errors import MpiparError
from mpipar.failure import say

MOST = 64  # checks put off at a time: of some twenty steps; each keeps the array that it looked at


class Check(NamedTuple):
    """wrong: array () of bool;   judge(values on the host) raises the error;   computed: their event"""

    wrong: Any
    values: Any
    judge: Callable[[np.ndarray], None]
    computed: Any


class Deferred:
    """The checks of one rank that nobody has looked at yet."""

    def __init__(self) -> None:
        self._checks: deque[Check] = deque()
        self._stream: Any = None  # of its own, so that a look waits for the checks alone

    def add(self, check: Check) -> None:
        self._checks.append(check)
        if len(self._checks) == MOST:
            self.look(MOST // 2)

    def look(self, count: int = MOST) -> None:
        """Look at the oldest ones.   cost: a copy and a wait for it, where there are any

        errors: of the first wrong one; those behind it are left for the next look
        """
        checks = list(islice(self._checks, count))
        if not checks:
            return
        self._stream = self._stream or xp.cuda.Stream(non_blocking=True)
        for check in checks:
            self._stream.wait_event(check.computed)
        with self._stream:
            for wrong in xp.stack([check.wrong for check in checks]).get():
                check = self._checks.popleft()
                if wrong:
                    check.judge(check.values.get())


_of_process = Deferred()  # of a process that is one rank: for all its threads
_here: ContextVar[Deferred] = ContextVar("deferred", default=_of_process)  # a virtual rank has its own


def check_later(wrong: Any, values: Any, judge: Callable[[np.ndarray], None]) -> None:
    """Put a check off: judge(values on the host) is called where `wrong`, an array () of bool, is true.

    values: a device array, kept until then;   errors: of an earlier check, where too many are put off
    """
    _here.get().add(Check(wrong, values, judge, xp.cuda.get_current_stream().record()))


def look_at_checks() -> None:
    """Look at all that were put off.   cost, errors: as Deferred.look"""
    _here.get().look()


def report_checks() -> None:
    """Print what the checks find that nobody has looked at: too late for an error."""
    found = True
    while found:
        found = False
        try:
            look_at_checks()
        except MpiparError as error:
            found = True
            say(f"mpipar: {error}\n")


@contextmanager
def checks_apart() -> Iterator[None]:
    """A virtual rank's life: its checks are its own, and looked at when it ends.   errors: theirs"""
    before = _here.set(Deferred())
    try:
        yield
        look_at_checks()
    except BaseException:
        with suppress(Exception):  # of a device that failed, which the error itself tells
            report_checks()
        raise
    finally:
        _here.reset(before)


def to_host(x: Any) -> np.ndarray:
    """x as a NumPy array; from a device this waits for the copy, so keep it out of loops."""
    if not on_device(x):
        return np.asarray(x)
    host = x.get()
    look_at_checks()
    return host


def synchronize() -> None:
    """Wait until the device has done all that was asked of it; nothing to do on the host."""
    if BACKEND != "numpy":
        xp.cuda.get_current_stream().synchronize()
        look_at_checks()


if BACKEND != "numpy":
    atexit.register(report_checks)
