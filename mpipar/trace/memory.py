"""How much memory this process holds, read often enough to be drawn over time."""

import os
from collections.abc import Iterator
from typing import Any

from mpipar.arrays import BACKEND, xp

EVERY = 1_000_000  # ns between two readings at least
CHANGE = 1 << 16  # bytes: a smaller change is no reading


class Memory:
    """Readings of this process: its resident set ("host"), and what CuPy's pool has lent ("device").

    The resident set is Linux's; elsewhere there are readings of the device alone.
    cost: some µs a reading
    """

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._pool: Any = xp.get_default_memory_pool() if BACKEND == "cupy" else None
        try:
            self._statm = os.open("/proc/self/statm", os.O_RDONLY)
            self._page = os.sysconf("SC_PAGE_SIZE")
        except (OSError, AttributeError, ValueError):
            self._statm = -1

    def changes(self) -> Iterator[tuple[str, int]]:
        """(where, bytes) of what has changed since it was last told."""
        for where, held in self._held():
            if abs(held - self._last.get(where, -CHANGE)) >= CHANGE:
                self._last[where] = held
                yield where, held

    def _held(self) -> Iterator[tuple[str, int]]:
        if self._statm >= 0:
            yield "host", int(os.pread(self._statm, 64, 0).split()[1]) * self._page
        if self._pool is not None:
            yield "device", self._pool.used_bytes()

    def close(self) -> None:
        """No more readings of the host."""
        if self._statm >= 0:
            os.close(self._statm)
        self._statm = -1
