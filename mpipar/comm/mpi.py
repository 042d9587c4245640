"""The transport over mpi4py: each method is one MPI call."""

import ctypes
import time
from typing import Any

import numpy as np
from mpi4py import MPI

from mpipar.comm.transport import ANY_SOURCE, ANY_TAG, Status, too_long
from mpipar.errors import OptionError
from mpipar.settings import settings

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
    reduced = None

    def __init__(self, comm: MPI.Intracomm) -> None:
        self._comm = comm
        self.rank, self.size = comm.rank, comm.size
        self.reads_device = cuda_aware()
        self.tag_limit = comm.Get_attr(MPI.TAG_UB) or 32767
        self.now = time.monotonic_ns
        comm.Set_errhandler(MPI.ERRORS_RETURN)

    def send(self, buffer: np.ndarray, dest: int, tag: int) -> None:
        self._comm.Send(buffer, dest, tag)

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
        return MpiPending(self._comm.Isend(buffer, dest, tag), buffer)

    def irecv(self, buffer: np.ndarray, source: int, tag: int) -> MpiPending:
        return MpiPending(self._comm.Irecv(buffer, *_wildcards(source, tag)), buffer)

    def split(self, color: int | None, key: int) -> "MpiTransport | None":
        comm = self._comm.Split(MPI.UNDEFINED if color is None else color, key)
        return None if comm == MPI.COMM_NULL else MpiTransport(comm)

    def split_by_node(self) -> "MpiTransport":
        """Collective: the ranks that share memory with this one."""
        return MpiTransport(self._comm.Split_type(MPI.COMM_TYPE_SHARED))

    def duplicate(self) -> "MpiTransport":
        return MpiTransport(self._comm.Dup())

    def ranks_in_world(self) -> list[int]:
        return list(self._comm.Get_group().Translate_ranks(None, MPI.COMM_WORLD.Get_group()))

    def native(self, operation: str, x: Any, out: Any, reduction: str, root: int) -> None:
        if operation == "allreduce":
            mean = reduction == "mean"
            op = REDUCTIONS["sum" if mean else reduction]
            self._comm.Allreduce(MPI.IN_PLACE if x is out else x, out, op)
            if mean:
                out /= self.size
        elif operation == "bcast":
            self._comm.Bcast(out, root)
        elif operation == "barrier":
            self._comm.Barrier()
        else:
            raise OptionError(f"{operation}: algorithm='native' is not offered; choose one of ours")


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
