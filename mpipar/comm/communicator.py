"""What users hold: point-to-point messages and MPI's collectives on arrays.

A collective is carried out by one of the algorithms in comm/collectives. Its messages go
through `Hops`: the same ranks, but apart from the user's own messages, and recorded as
children of the collective.
"""

import sys
from contextlib import nullcontext
from typing import Any

import numpy as np

from mpipar.arrays import BACKEND, empty_like, overlap, same_place
from mpipar.comm import collectives
from mpipar.comm.blocks import (
    HEADER,
    Blocks,
    blocks,
    bring_back,
    check_blocks,
    check_mine,
    flattened,
    from_header,
    header_of,
    reduction,
    result,
    scaled,
)
from mpipar.comm.clocks import offset_to_rank_0
from mpipar.comm.collective_call import CollectiveCall
from mpipar.comm.messages import Hops, Messages
from mpipar.comm.network import SHARED_MEMORY, Network
from mpipar.comm.repeat import Repeat
from mpipar.comm.started import Call, Started, UnderWay
from mpipar.comm.transport import Transport
from mpipar.comm.wire import check_array
from mpipar.errors import MessageError, OptionError, ShapeError
from mpipar.trace import Recorder, call_site

NOTHING = np.empty(0, np.uint8)
REPEATS = 64  # shapes of small arrays whose allreduce is kept ready


class Communicator(Messages):
    """A group of ranks.

    Every rank of the communicator has to call a collective, with the same arguments and in the
    same order. `algorithm` is a name of comm/collectives/registry.py, "auto" (the cheapest of ours
    by the network model; where no trace is kept, on one host, the same sums through shared memory) or
    "native" (MPI's own, whose hops cannot be seen). `op` is sum, prod, max, min or mean. Blocks are of
    dim 0, cut as numpy.array_split does. `out`, an array to fill and return, may share memory with x; by
    default it is a new one.
    """

    def __init__(
        self,
        transport: Transport,
        recorder: Recorder | None = None,
        name: str = "world",
        network: Network = SHARED_MEMORY,
        nodes: list[int] | None = None,
        axis: str = "",
    ) -> None:
        super().__init__(transport, recorder, name)
        self.nodes = transport.nodes() if nodes is None else nodes  # which node each rank is on
        self.axis = axis  # of a mesh, as "tp"
        self.network = network  # what "auto" predicts with
        self._hops = Hops(transport.duplicate(), recorder, name, self.nodes)
        self._checked = transport if transport.ledger is not None else None
        on_one_host = len(set(self.nodes)) == 1
        self._unseen = on_one_host and self.size > 1 and BACKEND == "numpy" and self._hops.until is not None
        self._repeats: dict[tuple, Repeat] = {}  # by shape, dtype and op
        self._under_way = UnderWay(self)
        self._splits = 0
        self._stands_for = ""  # why a collective's algorithm is not the one asked for
        self.seconds = 0.0  # that this rank has spent in collectives and in waits for started ones
        if recorder is not None:
            recorder.add_group(name, self._world_ranks, axis)

    @property
    def recorder(self) -> Recorder | None:
        """Where this rank's events go; None while tracing is off."""
        return self._recorder

    def scope(self, name: str, step: int | None = None, micro: int | None = None):
        """Name a stretch of the program in the trace: `with world.scope("train", step=3): ...`.

        step, micro: the training step and its micro-batch, by default those around it
        """
        return nullcontext() if self._recorder is None else self._recorder.scope(name, step, micro)

    def align_clocks(self) -> None:
        """Note in the trace how far this rank's clock is from rank 0's, for a trace of several hosts.

        Collective, of the world: `world()` does it at the start and `view.report` at the end; with
        both, clocks that drift are followed. Does nothing on one host, or without a trace.
        """
        if self._recorder is None or len(set(self.nodes)) == 1 or self._transport.reduced is not None:
            return
        offset, round_trip = offset_to_rank_0(self._hops._transport, self.nodes, self._recorder.clock)
        if round_trip:  # else this is rank 0's host
            self._recorder.add_clock(offset, round_trip)

    def bcast(self, x: Any, root: int = 0, algorithm: str = "auto") -> Any:
        """x of every rank ← x of the root, in place.   returns: x"""
        check_array("bcast", x)
        self._check_root("bcast", root)
        chosen = self._choose("bcast", algorithm, x)
        with CollectiveCall(self, "bcast", x, chosen, root=root, given=x if self.rank == root else None):
            if chosen == "native":
                self._native("bcast", x, x, root=root)
            else:
                flat = flattened(x)
                self._run("bcast", chosen, flat, self._hops, root)
                bring_back(flat, x)
        return x

    def reduce(self, x: Any, op: str = "sum", root: int = 0, algorithm: str = "auto", out: Any = None) -> Any:
        """The sum (or prod, max, min, mean) of all ranks' x, on the root; None on the others."""
        check_array("reduce", x)
        self._check_root("reduce", root)
        add, at_root = self._hops.counted(reduction("reduce", x, op)), self.rank == root
        out = result("reduce", x, out if at_root else None, x.shape)  # elsewhere for partial sums
        chosen = self._choose("reduce", algorithm, x)
        with CollectiveCall(self, "reduce", x, chosen, op, root):
            if out is not x:
                out[...] = x
            if chosen == "native":
                self._native("reduce", out, out if at_root else None, op, root)
            else:
                flat = flattened(out)
                self._run("reduce", chosen, flat, self._hops, add, root)
                bring_back(flat, out)
            if op == "mean" and at_root:
                out /= self.size
        return out if at_root else None

    def allreduce(
        self, x: Any, op: str = "sum", algorithm: str = "auto", out: Any = None, scale: float | None = None
    ) -> Any:
        """The sum (or prod, max, min, mean) of all ranks' x, on all ranks, bitwise equal.

        scale: what this rank's x is multiplied by first, as in NCCL's PreMulSum; through shared memory
            while it is in the cache
        """
        if self._repeats and algorithm == "auto" and type(x) is np.ndarray:
            repeat = self._repeats.get((x.shape, x.dtype, op))
            if repeat is not None and (out is x or out is None) and (scale is None or x.dtype.kind == "f"):
                return repeat.run(x, empty_like(x) if out is None else x, scale)
        check_array("allreduce", x)
        add = self._hops.counted(reduction("allreduce", x, op, scale))
        out = result("allreduce", x, out, x.shape)
        chosen = self._choose("allreduce", algorithm, x)
        if scale is not None and not self._scales("allreduce", chosen):
            x, scale = scaled(x, scale, out), None
        with CollectiveCall(self, "allreduce", x, chosen, op):
            if chosen == "native" and not overlap(x, out):
                self._native("allreduce", x, out, op)
            else:
                self._in_place("allreduce", chosen, x, out, op, add, scale)
            if op == "mean":
                out /= self.size
        if self._unseen and algorithm == "auto" and type(x) is np.ndarray:
            self._expect_again(x, op, chosen, add)
        return out

    def iallreduce(self, x: Any, op: str = "sum", algorithm: str = "auto", out: Any = None) -> Started:
        """Start an allreduce: `wait` of what it returns gives the result, which is in `out` then.

        Its steps are taken in `progress`, in `test` and `wait` of what this returns, and nowhere else.
        Until then leave `out` alone. Ranks start several in one order; they may wait in any.
        errors: OptionError for algorithm "native", which could not be seen
        """
        check_array("iallreduce", x)
        add = self._hops.counted(reduction("iallreduce", x, op))
        out = result("iallreduce", x, out, x.shape)
        if algorithm == "native":
            raise OptionError("iallreduce: MPI's own is not offered; choose algorithm='ring', or allreduce")
        chosen = self._choose("iallreduce", algorithm, x)
        call = Call("iallreduce", chosen, op, x, out, call_site(sys._getframe(1)))
        return self._under_way.start(call, add)

    def progress(self) -> None:
        """Let the collectives that were started go on, as far as they can without waiting."""
        self._under_way.progress()

    def scan(self, x: Any, op: str = "sum", algorithm: str = "auto", out: Any = None) -> Any:
        """The sum (or prod, max, min, mean) of the x of ranks 0 … r, on rank r."""
        check_array("scan", x)
        add = self._hops.counted(reduction("scan", x, op))
        out = result("scan", x, out, x.shape)
        chosen = self._choose("scan", algorithm, x)
        with CollectiveCall(self, "scan", x, chosen, op):
            self._in_place("scan", chosen, x, out, op, add)
            if op == "mean":
                out /= self.rank + 1
        return out

    def reduce_scatter(
        self, x: Any, op: str = "sum", algorithm: str = "auto", out: Any = None, scale: float | None = None
    ) -> Any:
        """Rank r's block of the sum of all ranks' x, a new array or out.   x: (n, …) -> (about n/size, …)

        out: x's own block costs no copy of x, another part of x one;   scale: as in allreduce
        """
        check_blocks("reduce_scatter", x)
        add = self._hops.counted(reduction("reduce_scatter", x, op, scale))
        whole = blocks(x.shape, x.dtype, self.size)
        mine = result("reduce_scatter", x, out, whole.block(self.rank))
        chosen = self._choose("reduce_scatter", algorithm, x)
        if out is not None and overlap(x, out) and (chosen == "native" or not self._is_own(x, out, whole)):
            x = x.copy()
        reads_only, work = self._scales("reduce_scatter", chosen), None
        if scale is not None and not reads_only:
            x = work = scaled(x, scale, empty_like(x))
        with CollectiveCall(self, "reduce_scatter", x, chosen, op):
            if chosen == "native":
                self._native("reduce_scatter", x, mine, op, lengths=whole.lengths)
            elif reads_only:
                flat = flattened(mine)
                self._run("reduce_scatter", chosen, flattened(x), whole.lengths, self._hops, add, flat, scale)
                bring_back(flat, mine)
            else:
                work = x.copy() if work is None else work
                flat, before = flattened(work), sum(whole.lengths[: self.rank])
                self._run("reduce_scatter", chosen, flat, whole.lengths, self._hops, add)
                mine[...] = flat[before : before + mine.size].reshape(mine.shape)
            if op == "mean":
                mine /= self.size
        return mine

    def allgather(self, x: Any, algorithm: str = "auto", out: Any = None) -> Any:
        """All ranks' blocks one after the other along dim 0, on all ranks.

        x: (rows, …) -> (size·rows, …). Where the ranks' blocks differ by a row give `out`, whose own block
        x may be.
        """
        check_blocks("allgather", x)
        out = empty_like(x, (self.size * len(x), *x.shape[1:])) if out is None else out
        check_blocks("allgather", out)
        whole = blocks(out.shape, out.dtype, self.size)
        check_mine("allgather", self.rank, x, whole)
        chosen = self._choose("allgather", algorithm, out)
        with CollectiveCall(self, "allgather", out, chosen, given=x):
            flat, before = flattened(out), sum(whole.lengths[: self.rank])
            mine = flat[before : before + x.size]
            is_there = same_place(x, mine)
            x = x.copy() if overlap(x, out) and not is_there else x
            if chosen == "native":
                self._native("allgather", x.copy() if is_there else x, out, lengths=whole.lengths)
            else:
                if not is_there:
                    mine[...] = x.reshape(-1)
                self._run("allgather", chosen, flat, whole.lengths, self._hops)
                bring_back(flat, out)
        return out

    def gather(
        self, x: Any, root: int = 0, algorithm: str = "auto", rows: int | None = None, out: Any = None
    ) -> Any:
        """All ranks' blocks one after the other along dim 0, on the root; None on the others.

        x: (rows/size, …) -> (rows, …). Where the ranks' blocks differ by a row, every rank has to
        give `rows`, because on a tree a rank receives blocks that are not like its own.
        """
        check_blocks("gather", x)
        self._check_root("gather", root)
        total = self.size * len(x) if rows is None else rows
        whole = blocks((total, *x.shape[1:]), x.dtype, self.size)
        check_mine("gather", self.rank, x, whole)
        out = result("gather", x, out, whole.shape) if self.rank == root else None
        chosen = self._choose("gather", algorithm, whole)
        with CollectiveCall(self, "gather", whole, chosen, root=root, given=x):
            x = x.copy() if out is not None and overlap(x, out) else x
            if chosen == "native":
                self._native("gather", x, out, root=root, lengths=whole.lengths)
            else:
                flat = None if out is None else flattened(out)
                self._run("gather", chosen, flattened(x), flat, whole.lengths, self._hops, root)
                if out is not None:
                    bring_back(flat, out)
        return out

    def scatter(self, x: Any = None, root: int = 0, algorithm: str = "auto") -> Any:
        """Rank r's block of the root's x.   x: (n, …) on the root, not looked at elsewhere.

        The other ranks learn dtype and shape first, by a bcast of 128 bytes with an event of its own.
        """
        self._check_root("scatter", root)
        if self.rank == root:
            check_blocks("scatter", x)
        header = header_of(x) if self.rank == root else np.empty(HEADER, np.int64)
        with CollectiveCall(self, "bcast", header, "binomial", root=root, given=None):
            self._run("bcast", "binomial", header, self._hops, root)
        whole, place = from_header(header, self.size)
        chosen = self._choose("scatter", algorithm, whole)
        x = x if self.rank == root else None
        with CollectiveCall(self, "scatter", whole, chosen, root=root, given=x):
            mine = place.empty(whole.block(self.rank), whole.dtype)
            if chosen == "native":
                self._native("scatter", x, mine, root=root, lengths=whole.lengths)
            else:
                flat = None if x is None else flattened(x)
                self._run("scatter", chosen, flat, mine.reshape(-1), whole.lengths, self._hops, root)
        return mine

    def alltoall(self, x: Any, algorithm: str = "auto", out: Any = None) -> Any:
        """Block i of the result is rank i's block r: a transpose of blocks.   x: (size·rows, …)"""
        check_blocks("alltoall", x)
        if len(x) % self.size:
            raise ShapeError(
                f"alltoall: x {x.shape} has {len(x)} rows, which {self.size} ranks cannot share; pad it"
            )
        out = result("alltoall", x, out, x.shape)
        chosen = self._choose("alltoall", algorithm, x)
        with CollectiveCall(self, "alltoall", x, chosen):
            x = x.copy() if overlap(x, out) else x
            if chosen == "native":
                self._native("alltoall", x, out)
            else:
                table = (self.size, x.size // self.size)
                flat = flattened(out).reshape(table)
                self._run("alltoall", chosen, flattened(x).reshape(table), flat, self._hops)
                bring_back(flat, out)
        return out

    def barrier(self, algorithm: str = "auto") -> None:
        """Returns on no rank before all ranks have called it."""
        chosen = self._choose("barrier", algorithm, NOTHING)
        with CollectiveCall(self, "barrier", NOTHING, chosen):
            if chosen == "native":
                self._native("barrier", None, None)
            else:
                self._run("barrier", chosen, self._hops)

    def split(self, color: int | None, key: int = 0, axis: str = "") -> "Communicator | None":
        """Ranks that give the same color form a communicator, ordered by (key, rank).

        axis: its name in traces, where it is an axis of a mesh, as "tp"
        returns: it; None for color None.   errors: MessageError for a negative color
        """
        if color is not None and color < 0:
            raise MessageError(f"split: color {color} is negative; use None to stay out")
        number, self._splits = self._splits, self._splits + 1
        self._stands_for = ""
        with CollectiveCall(self, "split", NOTHING, "native"):
            transport = self._transport.split(color, key)
        if transport is None:
            return None
        name = f"{self.name}/{number}:{color}"
        return Communicator(transport, self._recorder, name, self.network, axis=axis)

    def _choose(self, operation: str, algorithm: str, x: Any) -> str:
        sizes = (x.size, x.dtype.itemsize, self.size, self.network)
        chosen = collectives.choose(operation, algorithm, *sizes, self._unseen, self._wire.stages(x))
        self._stands_for = ""
        if chosen == "native" and not self._transport.has_native:
            chosen = collectives.choose(operation, "auto", *sizes)
            self._stands_for = " (for native)"
        return chosen

    def _is_own(self, x: Any, out: Any, whole: Blocks) -> bool:
        """Whether out is this rank's block of x, in its place."""
        before = sum(whole.rows[: self.rank])
        return same_place(x[before : before + whole.rows[self.rank]], out)

    def _scales(self, operation: str, chosen: str) -> bool:
        """Whether the algorithm scales x by itself; what it does with the numbers is not recorded."""
        return self._unseen and chosen != "native" and collectives.ALGORITHMS[operation][chosen].scales

    def _expect_again(self, x: np.ndarray, op: str, chosen: str, add: Any) -> None:
        again = collectives.ALGORITHMS["allreduce"][chosen].again
        known = (x.shape, x.dtype, op) in self._repeats
        few = None if known or again is None else again(x, self._hops, add)
        if few is None:
            return
        if len(self._repeats) == REPEATS:
            self._repeats.clear()
        self._repeats[x.shape, x.dtype, op] = Repeat(self, x, op, chosen, few)

    def _check_root(self, operation: str, root: int) -> None:
        if not 0 <= root < self.size:
            raise MessageError(f"{operation}: root {root} does not exist; ranks are 0 … {self.size - 1}")

    def _run(self, operation: str, chosen: str, *args: Any) -> None:
        collectives.ALGORITHMS[operation][chosen].run(*args)

    def _in_place(
        self, operation: str, chosen: str, x: Any, out: Any, op: str, add: Any, scale: float | None = None
    ) -> None:
        if out is not x:
            out[...] = x
        if chosen == "native":
            self._native(operation, out, out, op)
            return
        flat = flattened(out)
        self._run(operation, chosen, flat, self._hops, add, *(() if scale is None else (scale,)))
        bring_back(flat, out)

    def _native(
        self, operation: str, x: Any, out: Any, op: str = "sum", root: int = 0, lengths: Any = None
    ) -> None:
        wire = self._hops._wire
        given = None if x is None else wire.outgoing(x)
        taken = None if out is None else given if out is x else wire.incoming(out)
        self._hops._transport.native(operation, given, taken, op, root, lengths)
        if given is not None and taken is not given:
            wire.done(given, x)
        if taken is not None:
            wire.deliver(taken, out)
