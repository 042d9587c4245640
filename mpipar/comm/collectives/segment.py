"""Memory that all ranks of a node see: one file, mapped by all.

The file's name goes down a tree, and as soon as all have it open it is unlinked, so nothing is left
behind, however the job ends; a job killed before that leaves a file that the next one removes.

    | a number a rank | two sets of p rows of `few` elements | p rows of p parts of `part` elements |

The numbers say how often each rank has come to a meeting. A rank that writes its number and then
looks at the others' until they are as large has met all. That needs a processor that lets others
see writes in their order, as x86 does; elsewhere, and where messages are to be seen, ranks meet by
a dissemination barrier. A meeting takes 0.1 µs where all are there, a barrier several.
"""

import mmap
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from mpipar.comm.collectives.barrier import dissemination_barrier
from mpipar.comm.collectives.doubling import recursive_doubling_allreduce
from mpipar.comm.collectives.reduction import combine
from mpipar.comm.collectives.tree import binomial_bcast

PREFIX = "mpipar-shared-"
NAME_BYTES = 512
APART = 16  # numbers of 8 bytes: two cache lines, so that nobody's write disturbs another's
LARGEST = 8  # bytes of an element


class Segment:
    """This rank's view of the memory.   memory: p ranks' file;   few, part: elements, see above

    numbers: how often each rank has come to a meeting, at places `mine` and `others`;   met: and this rank
    """

    def __init__(self, memory: mmap.mmap, comm: Any, few: int, part: int) -> None:
        self._memory, self._few, self._part = memory, few, part
        self._p, self.met = comm.size, 0
        self.numbers = memoryview(memory)[: APART * 8 * comm.size].cast("q")
        self.mine = APART * comm.rank
        self.others = [APART * r for r in range(comm.size) if r != comm.rank]
        self._rows: dict[Any, tuple] = {}

    @staticmethod
    def nbytes(p: int, few: int, part: int) -> int:
        """Of the whole file."""
        return APART * 8 * p + LARGEST * (2 * p * few + p * p * part)

    def few(self, dtype: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Two sets of a row a rank. Who meets once a sum takes set `met` & 1, else a slow rank would
        still read what is written."""
        return self._views(dtype)[:2]

    def many(self, dtype: Any) -> list[list[np.ndarray]]:
        """A row a rank, in p parts."""
        return self._views(dtype)[2]

    def meet(self, comm: Any) -> None:
        """Returns on no rank before all have come; what they wrote before is seen after it."""
        self.met += 1
        if comm.until is None:
            dissemination_barrier(comm)
            return
        self.numbers[self.mine] = self.met
        comm.until(self.numbers, self.others, self.met)

    def _views(self, dtype: Any) -> tuple:
        found = self._rows.get(dtype)
        if found is None:
            found = self._rows[dtype] = self._make_views(dtype)
        return found

    def _make_views(self, dtype: Any) -> tuple:
        p, few, part = self._p, self._few, self._part

        def rows(start: int, count: int, length: int) -> list[np.ndarray]:
            first = APART * 8 * p + LARGEST * start
            places = [first + LARGEST * length * i for i in range(count)]
            return [np.frombuffer(self._memory, dtype, length, place) for place in places]

        parts = rows(2 * p * few, p * p, part)
        return rows(0, p, few), rows(p * few, p, few), [parts[i * p : i * p + p] for i in range(p)]


def map_segment(comm: Any, few: int, part: int) -> Segment | None:
    """Collective: a new segment; None on all ranks where there is no room for it."""
    everybody = comm.among(list(range(comm.size)), "set up: ")
    memory = _map_file(Segment.nbytes(comm.size, few, part), everybody)
    return None if memory is None else Segment(memory, comm, few, part)


def _map_file(nbytes: int, comm: Any) -> mmap.mmap | None:
    """Collective: rank 0 makes a file, all map it, and its name is gone when this returns.

    None on all ranks where one cannot, as in a container that has its own /dev/shm.
    """
    name = np.zeros(NAME_BYTES, np.uint8)
    if comm.rank == 0:
        path = os.fsencode(_make_file(nbytes))
        name[: len(path)] = np.frombuffer(path, np.uint8)
    binomial_bcast(name, comm, root=0)
    path = os.fsdecode(name.tobytes().rstrip(b"\0"))
    if not path:
        return None
    memory = None
    with suppress(OSError, ValueError), open(path, "r+b") as file:
        memory = mmap.mmap(file.fileno(), nbytes)
    all_have = np.array([memory is not None])
    recursive_doubling_allreduce(all_have, comm, combine("min"))
    if comm.rank == 0:
        os.unlink(path)
    return memory if all_have[0] else None


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
