"""The transport over mpi4py: each method is one MPI call."""

import ctypes
import os
import platform
import time
from typing import Any

import numpy as np
from mpi4py import MPI

from mpipar.comm.transport import ANY_SOURCE, ANY_TAG, Status, too_long
from mpipar.settings import settings

# processors that show one core's writes to the others in the order in which they were made
IN_ORDER = platform.machine().lower() in ("x86_64", "amd64", "i686", "i386")
LOOKS, LOOKS_CROWDED = 300, 20  # at memory, before another rank is let run; 40 ns each
REDUCTIONS = {"sum": MPI.SUM, "prod": MPI.PROD, "max": MPI.MAX, "min": MPI.MIN}


def cuda_aware() -> bool:
    """Whether this MPI can be handed GPU memory; one that cannot crashes on it.

    MPIX_Query_cuda_support (Open MPI, MPICH) asked through the library that mpi4py loaded; a
    missing symbol means no. MPIPAR_CUDA_AWARE=0|1 overrides the answer.
    """
    forced = settings().cuda_aware
    if forced is not None:
        return forced
    try:
        return bool(ctypes.CDLL(MPI.__file__).MPIX_Query_cuda_support())
    except (OSError, AttributeError):
        return False


class MpiPending:
    """One MPI request."""

    def __init__(self, request: MPI.Request, buffer: np.ndarray) -> None:
        self._request, self._buffer = request, buffer

    def wait(self) -> Status:
        status = MPI.Status()
        _translated(self._request.Wait, status, buffer=self._buffer)
        return _status(status)

    def test(self) -> Status | None:
        status = MPI.Status()
        return _status(status) if _translated(self._request.Test, status, buffer=self._buffer) else None


class MpiTransport:
    """Messages over one MPI communicator."""

    has_native = True
    ledger = None
    reduced = None

    def __init__(self, comm: MPI.Intracomm, node_of: list[int] | None = None) -> None:
        self._comm = comm
        self._send, self._isend = comm.Send, comm.Isend
        if settings().check == "strict":  # a send that waits for its receiver hides no deadlock
            self._send, self._isend = comm.Ssend, comm.Issend
        self._node_of = _ask_nodes() if node_of is None else node_of  # by world rank
        self.rank, self.size = comm.rank, comm.size
        self.reads_device = cuda_aware()
        self.tag_limit = comm.Get_attr(MPI.TAG_UB) or 32767
        self.now, self.pause = time.monotonic_ns, time.sleep
        comm.Set_errhandler(MPI.ERRORS_RETURN)
        here = self._node_of.count(self._node_of[MPI.COMM_WORLD.rank])
        self._looks = LOOKS if here <= _cores() else LOOKS_CROWDED
        if not IN_ORDER or not hasattr(os, "sched_yield"):
            self.until = None

    def send(self, buffer: np.ndarray, dest: int, tag: int) -> None:
        self._send(buffer, dest, tag)

    def recv(self, buffer: np.ndarray, source: int, tag: int) -> Status:
        status = MPI.Status()
        source, tag = _wildcards(source, tag)
        _translated(self._comm.Recv, buffer, source, tag, status, buffer=buffer)
        return _status(status)

    def sendrecv(
        self, buffer: np.ndarray, dest: int, tag: int, into: np.ndarray, source: int, recv_tag: int
    ) -> Status:
        status = MPI.Status()
        source, recv_tag = _wildcards(source, recv_tag)
        _translated(self._comm.Sendrecv, buffer, dest, tag, into, source, recv_tag, status, buffer=into)
        return _status(status)

    def isend(self, buffer: np.ndarray, dest: int, tag: int) -> MpiPending:
        return MpiPending(self._isend(buffer, dest, tag), buffer)

    def irecv(self, buffer: np.ndarray, source: int, tag: int) -> MpiPending:
        return MpiPending(self._comm.Irecv(buffer, *_wildcards(source, tag)), buffer)

    def until(self, numbers: memoryview, places: list[int], least: int) -> None:
        for place in places:
            looks = self._looks
            while numbers[place] < least:
                looks -= 1
                if looks < 0:
                    os.sched_yield()
                    if looks % 16 == 0:
                        self._comm.Iprobe()  # or a message that this rank has started might never arrive

    def split(self, color: int | None, key: int) -> "MpiTransport | None":
        comm = self._comm.Split(MPI.UNDEFINED if color is None else color, key)
        return None if comm == MPI.COMM_NULL else MpiTransport(comm, self._node_of)

    def duplicate(self) -> "MpiTransport":
        return MpiTransport(self._comm.Dup(), self._node_of)

    def ranks_in_world(self) -> list[int]:
        return list(self._comm.Get_group().Translate_ranks(None, MPI.COMM_WORLD.Get_group()))

    def nodes(self) -> list[int]:
        return [self._node_of[r] for r in self.ranks_in_world()]

    def native(
        self, operation: str, x: Any, out: Any, reduction: str, root: int, lengths: list[int] | None = None
    ) -> None:
        comm, op = self._comm, REDUCTIONS.get(reduction, MPI.SUM)
        given = MPI.IN_PLACE if x is out else x
        calls = {
            "bcast": lambda: comm.Bcast(out, root),
            "reduce": lambda: comm.Reduce(MPI.IN_PLACE if out is not None and x is out else x, out, op, root),
            "allreduce": lambda: comm.Allreduce(given, out, op),
            "reduce_scatter": lambda: comm.Reduce_scatter(x, out, lengths, op),
            "allgather": lambda: comm.Allgatherv(x, _blocks(out, lengths)),
            "gather": lambda: comm.Gatherv(x, _blocks(out, lengths), root),
            "scatter": lambda: comm.Scatterv(_blocks(x, lengths), out, root),
            "alltoall": lambda: comm.Alltoall(x, out),
            "scan": lambda: comm.Scan(given, out, op),
            "barrier": comm.Barrier,
        }
        calls[operation]()


def _cores() -> int:
    """How many this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def node_of(comm: MPI.Intracomm) -> MPI.Intracomm:
    """Collective: the ranks that share memory with this one."""
    return comm.Split_type(MPI.COMM_TYPE_SHARED)


def _ask_nodes() -> list[int]:
    """Collective over the world: for every rank, the first rank that shares memory with it."""
    world = MPI.COMM_WORLD
    node = node_of(world)
    first, all_first = np.array([world.rank]), np.empty(world.size, np.int64)
    node.Bcast(first)
    world.Allgather(first, all_first)
    node.Free()
    return all_first.tolist()


def _blocks(x: np.ndarray | None, lengths: list[int]) -> list | None:
    return None if x is None else [x, (lengths, None)]


def _wildcards(source: int, tag: int) -> tuple[int, int]:
    return (
        MPI.ANY_SOURCE if source == ANY_SOURCE else source,
        MPI.ANY_TAG if tag == ANY_TAG else tag,
    )


def _status(status: MPI.Status) -> Status:
    return Status(status.Get_source(), status.Get_tag(), status.Get_count(MPI.BYTE))


def _translated(call: Any, *args: Any, buffer: np.ndarray) -> Any:
    try:
        return call(*args)
    except MPI.Exception as error:
        if error.Get_error_class() == MPI.ERR_TRUNCATE:
            raise too_long(buffer) from None
        raise
