"""Between a GPU and an MPI that cannot read GPU memory: copies through pinned buffers.

A page-locked ("pinned") buffer is one the GPU can reach by itself, so the copy runs at the
bus's full speed and beside other work. Locking pages is slow, so buffers are kept and reused
by size class (powers of two).

The order that makes a copy safe:
  to the host    the copy stream waits for the stream that computes x; the host waits for the
                 copy's event, and only then may MPI read the buffer
  to the device  the computing stream waits for the copy's event before it reads; the buffer
                 goes back to its class only when the copy is done

Each way has a stream of its own, since a bus carries both at once. `to_host` and `to_device` wait;
`start_to_host` and `start_back` let the host do something else beside the copy.
"""

from typing import Any

import numpy as np

from mpipar.arrays.backend import BACKEND, xp
from mpipar.arrays.deferred import look_at_checks

SMALLEST = 4096  # bytes; the smallest size class


class Staging:
    """Pinned buffers and the copy streams of one rank."""

    def __init__(self) -> None:
        self._free: dict[int, list[np.ndarray]] = {}
        self._lent: dict[int, np.ndarray] = {}  # id of what was lent -> the buffer behind it
        self._leaving: list[tuple[Any, np.ndarray]] = []  # (event, what was lent) of copies to the device
        self._streams: dict[str, Any] = {}

    def lend(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """A pinned host array of that shape; give its memory back with `give_back`."""
        dtype = np.dtype(dtype)
        nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        size = size_class(nbytes)
        free = self._free.setdefault(size, [])
        buffer = free.pop() if free else _empty_pinned(size)
        host = buffer[:nbytes].view(dtype).reshape(shape)
        self._lent[id(host)] = buffer
        return host

    def give_back(self, host: np.ndarray) -> None:
        """The buffer behind an array from `lend` may be lent again."""
        buffer = self._lent.pop(id(host))
        self._free[buffer.nbytes].append(buffer)

    def to_host(self, x: Any) -> np.ndarray:
        """A pinned array that holds x now.   cost: x.nbytes over the bus, one wait"""
        host, copied = self.start_to_host(x)
        self.wait_for(copied)
        return host

    def to_device(self, host: np.ndarray, out: Any) -> None:
        """Copy a pinned array into the device array `out`; returns when `host` may be reused."""
        stream = self._stream("to device")
        # whoever still reads out's old values comes first
        stream.wait_event(xp.cuda.get_current_stream().record())
        self._start_to_device(host, out).synchronize()

    def start_to_host(self, x: Any, ready: Any = None) -> tuple[np.ndarray, Any]:
        """A pinned array that will hold x, and the event to `wait_for` before anybody reads it.

        ready: the event after which x has its values; by default all that was asked for until now
        """
        host, stream = self.lend(x.shape, x.dtype), self._stream("to host")
        stream.wait_event(ready or xp.cuda.get_current_stream().record())
        x.get(stream=stream, out=host, blocking=False)
        return host, stream.record()

    def wait_for(self, copied: Any) -> None:
        """Until a copy to the host is done.   errors: of a check that the device was asked for before"""
        copied.synchronize()
        look_at_checks()

    def start_back(self, host: np.ndarray, x: Any, is_last: bool = True) -> None:
        """Let x, whose values came by `start_to_host` and were not used since, hold `host`'s.

        is_last: what is computed from now on comes after this copy and those before it; until then
            nobody may use them
        host is given back when it has been copied: here, by the next call.
        """
        for copied, left in self._leaving:
            copied.synchronize()
            self.give_back(left)
        self._leaving = [(self._start_to_device(host, x, is_last), host)]

    def _start_to_device(self, host: np.ndarray, out: Any, is_last: bool = True) -> Any:
        stream = self._stream("to device")
        out.set(host, stream=stream)
        copied = stream.record()
        if is_last:
            xp.cuda.get_current_stream().wait_event(copied)
        return copied

    def _stream(self, way: str) -> Any:
        if way not in self._streams:
            self._streams[way] = xp.cuda.Stream(non_blocking=True)
        return self._streams[way]


def size_class(nbytes: int) -> int:
    """The smallest power of two ≥ nbytes, at least `SMALLEST`."""
    return max(SMALLEST, 1 << (nbytes - 1).bit_length()) if nbytes else SMALLEST


def _empty_pinned(nbytes: int) -> np.ndarray:
    if BACKEND == "cupy":
        import cupyx

        return cupyx.empty_pinned(nbytes, np.uint8)
    return np.empty(nbytes, np.uint8)
