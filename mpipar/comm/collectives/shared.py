"""Allreduce through shared memory: on one host the ranks need not send their arrays at all.

All ranks map one file: p+1 rows of n elements. Each writes its x into its own row (1), waits until
all have (2), adds up its 1/p of all rows into the last row (3), waits again (4), and copies the last
row out (5). What is a message and what is not: (2) and (4) are dissemination barriers, 2 ⌈log2 p⌉
messages of 0 bytes a rank; the bytes of (1), (3) and (5) pass through memory and are in no
trace. So `auto` never chooses it: ask for algorithm="shared".

    a rank:  2 ⌈log2 p⌉ messages of 0 bytes, 2 ⌈log2 p⌉ rounds; writes n(p+1)/p and reads 2n elements
    time:    2 ⌈log2 p⌉ alpha + 3n·(memory's s an element), shared by p ranks if memory is the limit

The file is made at the first call, and when a larger x comes: rank 0 sends its name down a tree and
all wait once more ("set up"). As soon as all have it open it is unlinked, so nothing is left behind,
however the job ends; a job killed before that leaves a file that the next one removes. A second call
may write (1) while a slow rank still copies out (5), because (5) reads the last row only, and nobody
writes that one before all have come to the second call's (2).

All ranks end bitwise equal, because each element is summed by one rank, in rank order. Virtual ranks
share a process, so there it works as well, but their clock does not count the copies.
errors: OptionError where the ranks are on several nodes, x is on a GPU, or memory is short
"""

import mmap
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from mpipar.comm.collectives.barrier import dissemination_barrier
from mpipar.comm.collectives.chunks import part_lengths, starts
from mpipar.comm.collectives.cost import Cost, log2_ceil
from mpipar.comm.collectives.reduction import Add
from mpipar.comm.collectives.tree import binomial_bcast
from mpipar.errors import OptionError

PREFIX = "mpipar-shared-"
NAME_BYTES = 512


def shared_allreduce(x: Any, comm: Any, add: Add) -> None:
    """x ← sum of all ranks' x."""
    p, r = comm.size, comm.rank
    if len(set(comm.nodes)) > 1:
        raise OptionError("allreduce: algorithm='shared' needs all ranks on one node; use 'hierarchical'")
    if not isinstance(x, np.ndarray):
        raise OptionError("allreduce: algorithm='shared' adds host arrays, this one is on a GPU; use 'ring'")
    rows = _rows(x, comm)
    begin = starts(part_lengths(x.size, p))
    rows[r][...] = x
    dissemination_barrier(comm)
    mine = slice(begin[r], begin[r + 1])
    rows[p][mine] = rows[0][mine]
    for row in rows[1:p]:
        add(rows[p][mine], row[mine])
    dissemination_barrier(comm)
    x[...] = rows[p]


def shared_allreduce_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    """Of the messages; "set up" is not counted."""
    return Cost(2 * log2_ceil(p), 0, 2 * log2_ceil(p), 0)


def _rows(x: np.ndarray, comm: Any) -> list[np.ndarray]:
    """p+1 arrays like x in memory that all ranks see."""
    wanted = max(4096, 1 << (x.nbytes - 1).bit_length()) if x.nbytes else 4096
    memory, room = comm.kept.get("shared", (None, 0))
    if room < wanted:
        everybody = comm.among(list(range(comm.size)), "set up: ")
        memory, room = _map_file(wanted * (comm.size + 1), everybody), wanted
        comm.kept["shared"] = memory, room
    return [np.frombuffer(memory, x.dtype, x.size, i * room) for i in range(comm.size + 1)]


def _map_file(nbytes: int, comm: Any) -> mmap.mmap:
    """Collective: rank 0 makes a file, all map it, and its name is gone when this returns."""
    name = np.zeros(NAME_BYTES, np.uint8)
    if comm.rank == 0:
        path = os.fsencode(_make_file(nbytes))
        name[: len(path)] = np.frombuffer(path, np.uint8)
    binomial_bcast(name, comm, root=0)
    path = os.fsdecode(name.tobytes().rstrip(b"\0"))
    if not path:
        raise OptionError(f"allreduce: no room for {nbytes} bytes that the ranks share; use algorithm='ring'")
    with open(path, "r+b") as file:
        memory = mmap.mmap(file.fileno(), nbytes)
    dissemination_barrier(comm)
    if comm.rank == 0:
        os.unlink(path)
    return memory


def folders() -> list[Path]:
    """Where such a file may be: in memory, else on disk."""
    return [f for f in (Path("/dev/shm"), Path(tempfile.gettempdir())) if os.access(f, os.W_OK)]


def _make_file(nbytes: int) -> str:
    """A file of so many bytes, in memory where there is room;   '' where there is none."""
    for folder in folders():
        _remove_leftovers(folder)
        number, path = tempfile.mkstemp(prefix=f"{PREFIX}{os.getpid()}-", dir=folder)
        try:
            # a hole in the file would be a crash when it is written and the disk is full
            getattr(os, "posix_fallocate", _fill)(number, 0, nbytes)
            return path
        except OSError:
            os.unlink(path)
        finally:
            os.close(number)
    return ""


def _fill(number: int, start: int, nbytes: int) -> None:
    """What posix_fallocate does, for macOS."""
    while start < nbytes:
        start += os.pwrite(number, bytes(min(1 << 20, nbytes - start)), start)


def _remove_leftovers(folder: Path) -> None:
    """Files of processes that were killed between making and unlinking them."""
    for file in folder.glob(f"{PREFIX}*"):
        with suppress(OSError, ValueError):
            owner = int(file.name.removeprefix(PREFIX).split("-")[0])
            try:
                os.kill(owner, 0)
            except ProcessLookupError:
                file.unlink()
