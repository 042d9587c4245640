"""From a user's array to what a transport takes: contiguous, and on the host unless the
transport reads GPU memory. Every copy made on the way is an event of the trace.
"""

from typing import Any

import numpy as np

from mpipar.arrays import Staging, is_array, on_device, synchronize, xp
from mpipar.comm.transport import Transport
from mpipar.errors import DTypeError, MessageError
from mpipar.trace import Event, Recorder

ARRAYS = (np.ndarray, xp.ndarray)
# dtype -> its name, looked up here because numpy's own dtype.name takes a microsecond
CARRIED = {np.dtype(code): np.dtype(code).name for code in "? b h i l q B H I L Q e f d".split()}


class Wire:
    """The copies beside the messages of one rank on one communicator."""

    def __init__(self, transport: Transport, recorder: Recorder | None) -> None:
        self._transport, self._recorder = transport, recorder
        self._staging = Staging()

    def stages(self, x: Any) -> bool:
        """Whether x travels through pinned memory."""
        return on_device(x) and not self._transport.reads_device

    def outgoing(self, x: Any) -> Any:
        """x as the transport takes it; hand the result to `done` after the message."""
        if type(x) is np.ndarray and x.flags.c_contiguous:
            return x
        if not on_device(x):
            return self.recorded("make contiguous", np.ascontiguousarray, x)
        if not x.flags.c_contiguous:
            x = self.recorded("make contiguous", xp.ascontiguousarray, x)
        if self._transport.reads_device:
            synchronize()  # MPI reads the memory without asking the stream that still writes it
            return x
        return self.recorded("device to host", self._staging.to_host, x)

    def incoming(self, out: Any, apart: bool = False) -> Any:
        """Where the transport shall write; hand the result to `deliver` after the message.

        apart: not into out itself, because it is being sent at the same time
        """
        direct = not apart and out.flags.c_contiguous
        if direct and type(out) is np.ndarray:
            if not out.flags.writeable:
                raise MessageError(f"out {out.shape} {out.dtype} is read-only; receive into a copy of it")
            return out
        if not on_device(out):
            return np.empty(out.shape, out.dtype)
        if not self._transport.reads_device:
            return self._staging.lend(out.shape, out.dtype)
        buffer = out if direct else xp.empty(out.shape, out.dtype)
        synchronize()
        return buffer

    def deliver(self, buffer: Any, out: Any) -> None:
        """Bring what arrived in `buffer` to `out`."""
        if buffer is out:
            return
        if not on_device(out) or on_device(buffer):
            self.recorded("from buffer", out.__setitem__, ..., buffer, of=out)
            return
        if out.flags.c_contiguous:
            self.recorded("host to device", self._staging.to_device, buffer, out)
        else:
            whole = xp.empty(out.shape, out.dtype)
            self.recorded("host to device", self._staging.to_device, buffer, whole)
            self.recorded("from buffer", out.__setitem__, ..., whole, of=out)
        self._staging.give_back(buffer)

    def done(self, buffer: Any, x: Any) -> None:
        """The message from `outgoing(x)` has left; its staging buffer may be used again."""
        if buffer is not x and on_device(x) and not on_device(buffer):
            self._staging.give_back(buffer)

    def recorded(self, what: str, copy: Any, *args: Any, of: Any = None) -> Any:
        """copy(*args), an event of the trace.   of: what is copied, by default the first of them"""
        recorder = self._recorder
        if recorder is None:
            return copy(*args)
        seq, start = recorder.begin(), recorder.clock()
        result = copy(*args)
        x = args[0] if of is None else of
        event = Event(
            seq, "copy", start, recorder.clock(), bytes=x.nbytes, dtype=CARRIED[x.dtype], shape=x.shape,
            algorithm=what, step=recorder.step, micro=recorder.micro, scope=recorder.scope_path,
        )  # fmt: skip
        recorder.add(event)
        return result


class OnHost:
    """A device array's values on the host, on their way there from the start on: `wait` for them.

    In the trace a started copy lasts as long as it holds up the rank, which is less than it takes.
    """

    def __init__(self, wire: Wire, x: Any, ready: Any) -> None:
        self._wire, self._x, self._has_come = wire, x, False
        self._host, self._copied = wire._staging.start_to_host(x, ready)

    def test(self) -> bool:
        """Whether they have come; never blocks."""
        return self._copied.done

    def wait(self) -> np.ndarray:
        """The values, on the host."""
        if not self._has_come:
            wait = self._wire._staging.wait_for
            self._wire.recorded("device to host, started", wait, self._copied, of=self._x)
            self._has_come = True
        return self._host

    def bring_back(self, is_last: bool) -> None:
        """Start to copy what is on the host now to the device; after that it is not on the host any more.

        is_last: of several, before the device may use any of them
        """
        back = self._wire._staging.start_back
        self._wire.recorded("host to device, started", back, self._host, self._x, is_last, of=self._x)


class AtHome:
    """As OnHost, of an array that is on the host: nothing is copied."""

    def __init__(self, x: np.ndarray) -> None:
        self._x = x

    def test(self) -> bool:
        return True

    def wait(self) -> np.ndarray:
        return self._x

    def bring_back(self, is_last: bool) -> None:
        pass


def can_travel(x: Any) -> bool:
    """Whether x is an array of a dtype that a message carries."""
    return isinstance(x, ARRAYS) and x.dtype in CARRIED


def check_array(operation: str, x: Any) -> None:
    """errors: MessageError for what is no array, DTypeError for a dtype that does not travel"""
    if not is_array(x):
        raise MessageError(
            f"{operation}: got {type(x).__name__}, not an array; send numpy.array([x]), or a Tensor's .data"
        )
    if x.dtype not in CARRIED:
        raise DTypeError(
            f"{operation}: dtype {x.dtype} does not travel; use bool, int8 … int64, uint8 … uint64, "
            "float16, float32 or float64"
        )
