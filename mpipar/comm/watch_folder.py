"""The folder in shared memory where the ranks of a node leave their ledgers for one another.

Each rank writes its own file, `rank-N`, and reads all of them; a file is put in place whole, so
nobody reads half of one. A further file stands for each thing that one rank alone may say.
"""

import os
import shutil
import tempfile
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from mpipar.comm.ledger import Snapshot, States

PREFIX = "mpipar-watch-"
encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Snapshot).decode


class WatchFolder:
    """One rank's view of it.   path: made by `make_folder` on one rank and known to all"""

    def __init__(self, path: Path, rank: int) -> None:
        self.path, self.rank = path, rank
        self._pen, self._ended = threading.Lock(), False  # two threads of the rank write

    def write(self, data: bytes, last: bool = False) -> None:
        """Put this rank's encoded snapshot where the others read it; nothing comes after the last one."""
        file = self.path / f"new-{self.rank}"
        with self._pen, suppress(OSError):  # the folder is gone when the job has ended
            if self._ended:
                return
            self._ended = last
            file.write_bytes(data)
            file.replace(_file_of(self.path, self.rank))

    def read(self, rank: int) -> Snapshot | None:
        """That rank's snapshot, None where it has written none."""
        return _read(_file_of(self.path, rank))

    def states(self, ranks: Iterable[int]) -> States:
        """The snapshots of these ranks, as far as they have written one."""
        read = {rank: self.read(rank) for rank in ranks}
        return {rank: snapshot for rank, snapshot in read.items() if snapshot is not None}

    def claim(self, name: str) -> bool:
        """Whether this rank is the first of the node to claim the name."""
        try:
            os.close(os.open(self.path / name, os.O_CREAT | os.O_EXCL))
        except OSError:  # another was first, or the folder is gone: the job has been ended
            return False
        return True

    def remove(self) -> None:
        """Leave nothing of the job in shared memory."""
        shutil.rmtree(self.path, ignore_errors=True)


def make_folder() -> Path:
    """A folder for the ranks of this node; folders of jobs that died are removed."""
    for old in parent().glob(f"{PREFIX}*"):
        maker = old.name.removeprefix(PREFIX).split("-")[0]
        if maker.isdigit() and not alive(int(maker)) and not _inhabited(old):
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent()))


def parent() -> Path:
    """Where the folders of all jobs are."""
    shm = Path("/dev/shm")
    return shm if shm.is_dir() and os.access(shm, os.W_OK) else Path(tempfile.gettempdir())


def alive(pid: int) -> bool:
    """Whether the process is there and has not ended; one that nobody has waited for yet has."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # a zombie is dead, but not yet taken away
        stat = Path(f"/proc/{pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True


def _inhabited(folder: Path) -> bool:
    """Whether a rank lives on after the one that made the folder: it has yet to tell of that one's end."""
    snapshots = [_read(file) for file in folder.glob("rank-*")]
    return any(snapshot is not None and alive(snapshot.pid) for snapshot in snapshots)


def _file_of(folder: Path, rank: int) -> Path:
    return folder / f"rank-{rank}"


def _read(file: Path) -> Snapshot | None:
    with suppress(OSError, msgspec.MsgspecError):
        return _decode(file.read_bytes())
    return None
