"""Between a GPU and an MPI that cannot read GPU memory: copies through pinned buffers.

A page-locked ("pinned") buffer is one the GPU can reach by itself, so the copy runs at the
bus's full speed and beside other work. Locking pages is slow, so buffers are kept and reused
by size class (powers of two).

The order that makes a copy safe:
  to the host    the copy stream waits for the stream that computes x; the host waits for the
                 copy's event, and only then may MPI read the buffer
  to the device  the computing stream waits for the copy's event before it reads; the buffer
                 goes back to its class only when the copy is done
"""

from typing import Any

import numpy as np

from mpipar.arrays.backend import BACKEND, xp

SMALLEST = 4096  # bytes; the smallest size class


class Staging:
    """Pinned buffers and the copy stream of one rank."""

    def __init__(self) -> None:
        self._free: dict[int, list[np.ndarray]] = {}
        self._lent: dict[int, np.ndarray] = {}  # id of what was lent -> the buffer behind it
        self._stream: Any = None

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
        """A pinned array that holds x now.   cost: x.nbytes over the bus, one wait."""
        host = self.lend(x.shape, x.dtype)
        stream = self._copy_stream()
        stream.wait_event(xp.cuda.get_current_stream().record())
        x.get(stream=stream, out=host, blocking=False)
        stream.record().synchronize()
        return host

    def to_device(self, host: np.ndarray, out: Any) -> None:
        """Copy a pinned array into the device array `out`; returns when `host` may be reused."""
        stream = self._copy_stream()
        current = xp.cuda.get_current_stream()
        stream.wait_event(current.record())  # whoever still reads out's old values comes first
        out.set(host, stream=stream)
        copied = stream.record()
        current.wait_event(copied)
        copied.synchronize()

    def _copy_stream(self) -> Any:
        if self._stream is None:
            self._stream = xp.cuda.Stream(non_blocking=True)
        return self._stream


def size_class(nbytes: int) -> int:
    """The smallest power of two ≥ nbytes, at least `SMALLEST`."""
    return max(SMALLEST, 1 << (nbytes - 1).bit_length()) if nbytes else SMALLEST


def _empty_pinned(nbytes: int) -> np.ndarray:
    if BACKEND == "cupy":
        import cupyx

        return cupyx.empty_pinned(nbytes, np.uint8)
    return np.empty(nbytes, np.uint8)
