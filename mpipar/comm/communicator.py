"""What users hold: point-to-point messages and MPI's collectives on arrays.

A collective is carried out by one of the algorithms in comm/collectives. Its messages go
through `Hops`: the same ranks, but apart from the user's own messages, and recorded as
children of the collective.
"""

import sys
from contextlib import nullcontext
from typing import Any

import numpy as np

from mpipar.arrays import empty_like, overlap
from mpipar.comm import collectives
from mpipar.comm.collectives import cut, part_lengths
from mpipar.comm.messages import Hops, Messages
from mpipar.comm.network import SHARED_MEMORY, Network
from mpipar.comm.transport import Transport
from mpipar.comm.wire import CARRIED, check_array
from mpipar.errors import DTypeError, MessageError, ShapeError
from mpipar.trace import Event, Recorder, call_site

BCASTS = {"binomial": collectives.binomial_bcast, "linear": collectives.linear_bcast}
ALLREDUCES = {"ring": collectives.ring_allreduce, "naive": collectives.naive_allreduce}
NOTHING = np.empty(0, np.uint8)


class Communicator(Messages):
    """A group of ranks.

    Every rank of the communicator has to call a collective, with the same arguments and in the
    same order. `algorithm` is a name of comm/collectives, "auto" (the cheapest of ours by the
    network model) or "native" (MPI's own, whose hops cannot be seen).
    """

    def __init__(
        self,
        transport: Transport,
        recorder: Recorder | None = None,
        name: str = "world",
        network: Network = SHARED_MEMORY,
    ) -> None:
        super().__init__(transport, recorder, name)
        self._hops = Hops(transport.duplicate(), recorder, name)
        self._network = network
        self._splits = 0
        self._stands_for = ""  # why a collective's algorithm is not the one asked for
        if recorder is not None:
            recorder.add_group(name, self._world_ranks)

    @property
    def recorder(self) -> Recorder | None:
        """Where this rank's events go; None while tracing is off."""
        return self._recorder

    def scope(self, name: str, step: int | None = None):
        """Name a stretch of the program in the trace: `with world.scope("forward"): ...`."""
        return nullcontext() if self._recorder is None else self._recorder.scope(name, step)

    def bcast(self, x: Any, root: int = 0, algorithm: str = "auto") -> Any:
        """x of every rank ← x of the root, in place.   returns: x"""
        check_array("bcast", x)
        if not 0 <= root < self.size:
            raise MessageError(f"bcast: root {root} does not exist; ranks are 0 … {self.size - 1}")
        chosen = self._choose("bcast", algorithm, x.nbytes)
        with _Call(self, "bcast", x, chosen, root=root):
            if chosen == "native":
                self._native("bcast", x, x, root=root)
            else:
                flat = x.reshape(-1)
                BCASTS[chosen](flat, self._hops, root)
                _bring_back(flat, x)
        return x

    def allreduce(self, x: Any, op: str = "sum", algorithm: str = "auto", out: Any = None) -> Any:
        """The sum (or prod, max, min, mean) of all ranks' x, on all ranks, bitwise equal.

        out: array like x to fill, may be x itself; by default a new one.   returns: out
        """
        check_array("allreduce", x)
        add = self._hops.counted(_combine("allreduce", x, op))
        out = empty_like(x) if out is None else out
        if out.shape != x.shape or out.dtype != x.dtype:
            raise ShapeError(
                f"allreduce: out {out.shape} {out.dtype} does not fit x {x.shape} {x.dtype}; make it like x"
            )
        chosen = self._choose("allreduce", algorithm, x.nbytes)
        with _Call(self, "allreduce", x, chosen, op):
            if chosen == "native" and not overlap(x, out):
                self._native("allreduce", x, out, op)
                return out
            if out is not x:
                out[...] = x
            if chosen == "native":
                self._native("allreduce", out, out, op)
                return out
            flat = out.reshape(-1)
            ALLREDUCES[chosen](flat, self._hops, add)
            if op == "mean":
                flat /= self.size
            _bring_back(flat, out)
        return out

    def reduce_scatter(self, x: Any, op: str = "sum", algorithm: str = "auto") -> Any:
        """Rank r's block of the sum of all ranks' x; blocks of dim 0 as numpy.array_split cuts them.

        x: (n, …) -> (about n/size, …), a new array
        """
        _check_blocks("reduce_scatter", x)
        add = self._hops.counted(_combine("reduce_scatter", x, op))
        chosen = self._choose("reduce_scatter", algorithm, x.nbytes)
        with _Call(self, "reduce_scatter", x, chosen, op):
            rows, work = part_lengths(len(x), self.size), empty_like(x)
            work[...] = x
            chunks = _blocks(work.reshape(-1), rows)
            collectives.ring_reduce_scatter(chunks, self._hops, add)
            mine = chunks[self.rank].copy()
            if op == "mean":
                mine /= self.size
        return mine.reshape(rows[self.rank], *x.shape[1:])

    def allgather(self, x: Any, algorithm: str = "auto", out: Any = None) -> Any:
        """All ranks' blocks one after the other along dim 0, on all ranks.

        x: (rows, …) -> (size·rows, …). Where the ranks' blocks differ by a row, as
        numpy.array_split cuts them, give `out` of the whole shape.   returns: out
        """
        _check_blocks("allgather", x)
        if out is None:
            out = empty_like(x, (self.size * len(x), *x.shape[1:]))
        check_array("allgather", out)
        rows = part_lengths(len(out), self.size)
        if x.shape != (rows[self.rank], *out.shape[1:]) or x.dtype != out.dtype:
            raise ShapeError(
                f"allgather: rank {self.rank} gives {x.shape} {x.dtype}, but its block of out {out.shape} "
                f"{out.dtype} on {self.size} ranks has {rows[self.rank]} rows; cut as numpy.array_split does"
            )
        chosen = self._choose("allgather", algorithm, out.nbytes)
        with _Call(self, "allgather", out, chosen):
            flat = out.reshape(-1)
            chunks = _blocks(flat, rows)
            chunks[self.rank][...] = x.reshape(-1)
            collectives.ring_allgather(chunks, self._hops)
            _bring_back(flat, out)
        return out

    def barrier(self, algorithm: str = "auto") -> None:
        """Returns on no rank before all ranks have called it."""
        chosen = self._choose("barrier", algorithm, 0)
        with _Call(self, "barrier", NOTHING, chosen):
            if chosen == "native":
                self._native("barrier", NOTHING, NOTHING)
            else:
                collectives.dissemination_barrier(self._hops)

    def split(self, color: int | None, key: int = 0) -> "Communicator | None":
        """Ranks that give the same color form a communicator, ordered by (key, rank).

        returns: it; None for color None.   errors: MessageError for a negative color
        """
        if color is not None and color < 0:
            raise MessageError(f"split: color {color} is negative; use None to stay out")
        number, self._splits = self._splits, self._splits + 1
        self._stands_for = ""
        with _Call(self, "split", NOTHING, "native"):
            transport = self._transport.split(color, key)
        if transport is None:
            return None
        return Communicator(transport, self._recorder, f"{self.name}/{number}:{color}", self._network)

    def _choose(self, operation: str, algorithm: str, nbytes: int) -> str:
        chosen = collectives.choose(operation, algorithm, nbytes, self.size, self._network)
        self._stands_for = ""
        if chosen == "native" and not self._transport.has_native:
            chosen = collectives.choose(operation, "auto", nbytes, self.size, self._network)
            self._stands_for = " (for native)"
        return chosen

    def _native(self, operation: str, x: Any, out: Any, op: str = "sum", root: int = 0) -> None:
        wire = self._hops._wire
        given = wire.outgoing(x)
        taken = given if out is x else wire.incoming(out)
        self._hops._transport.native(operation, given, taken, op, root)
        if taken is not given:
            wire.done(given, x)
        wire.deliver(taken, out)


class _Call:
    """Records a collective around its hops, which become its children."""

    def __init__(
        self, comm: Communicator, operation: str, x: Any, algorithm: str, op: str = "", root: int = -1
    ) -> None:
        self._comm, self._recorder = comm, comm._recorder
        if self._recorder is not None:
            self._what = (operation, x, algorithm, op, root)
            self._site = call_site(sys._getframe(2))

    def __enter__(self) -> None:
        if self._recorder is not None:
            self._seq, self._start = self._recorder.begin(), self._recorder.clock()
            self._comm._hops.parent = self._seq

    def __exit__(self, error: object, *_: object) -> None:
        recorder, comm = self._recorder, self._comm
        comm._hops.phase = ""
        if recorder is None or error is not None:
            return
        operation, x, algorithm, op, root = self._what
        event = Event(
            self._seq, operation, self._start, recorder.clock(), comm.name,
            comm._world_ranks[root] if root >= 0 else -1, -1, x.nbytes, CARRIED[x.dtype], x.shape,
            algorithm + comm._stands_for, op, step=recorder.step, site=self._site, scope=recorder.scope_path,
        )  # fmt: skip
        recorder.add(event)


def _blocks(flat: Any, rows: list[int]) -> list[Any]:
    """A flat array cut into blocks of so many rows each."""
    width = len(flat) // sum(rows) if sum(rows) else 0
    return cut(flat, [n * width for n in rows])


def _bring_back(flat: Any, x: Any) -> None:
    """flat was x.reshape(-1): a view where x is contiguous, else a copy that x must see."""
    if not x.flags.c_contiguous:
        x[...] = flat.reshape(x.shape)


def _combine(operation: str, x: Any, op: str) -> collectives.Add:
    if op == "mean" and x.dtype.kind != "f":
        raise DTypeError(f"{operation}: the mean of {x.dtype} is not a {x.dtype}; use float32, or op='sum'")
    return collectives.combine(op)


def _check_blocks(operation: str, x: Any) -> None:
    check_array(operation, x)
    if x.ndim == 0:
        raise ShapeError(f"{operation}: a single number has no blocks; pass an array of at least one dim")
