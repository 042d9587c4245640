"""Writes one rank's events to its own append-only file.

Recording appends to a list; a thread encodes and writes four times a second, so a killed
rank loses at most the last quarter of a second. No event is changed once it is written.
"""

import atexit
import json
import math
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from mpipar.arrays import describe, to_host
from mpipar.errors import TraceError
from mpipar.trace.event import FORMAT, Event, Footer, Group, Header

FLUSH_SECONDS = 0.25
CAP = 1_000_000  # events a rank
VALUES_UP_TO = 64  # elements; larger arrays leave their values out


class Recorder:
    """Events of one rank.

    clock: ns, as in Event.start          values: keep the numbers of small messages
    flush_seconds: None for no thread (virtual ranks, which share a process): then rows are
        written whenever `rows_kept` have come together
    host, pid: for the header; by default this process's
    """

    def __init__(
        self,
        folder: str | Path,
        rank: int,
        size: int,
        clock: Callable[[], int] = time.monotonic_ns,
        values: bool = False,
        cap: int = CAP,
        flush_seconds: float | None = FLUSH_SECONDS,
        rows_kept: int | None = None,
        host: str | None = None,
        pid: int | None = None,
    ) -> None:
        self.folder, self.rank, self.clock, self.values, self.cap = Path(folder), rank, clock, values, cap
        self.step = -1
        self.scope_path = ""
        self._next_seq = 0
        self._rows: list[Any] = []
        self._recorded = self._dropped = 0
        self._encode = msgspec.json.Encoder().encode_lines
        self._lock = threading.Lock()  # only one writer; recording itself needs none
        # opened for each write: a thousand virtual ranks are more files than a process may hold open
        self._path = self.folder.absolute() / f"rank-{rank:04}.jsonl"
        self._path.write_bytes(b"")
        self._rows_kept = rows_kept or cap
        self._closed, self._footer_written = threading.Event(), False
        host, pid = host or socket.gethostname(), os.getpid() if pid is None else pid
        self._rows.append(Header(FORMAT, rank, size, host, pid, describe()))
        if flush_seconds is not None:
            threading.Thread(target=self._flush_loop, args=(flush_seconds,), daemon=True).start()
            atexit.register(self.close)

    def begin(self) -> int:
        """The seq of an event that starts now; its row follows when it ends."""
        seq = self._next_seq
        self._next_seq = seq + 1
        return seq

    def add(self, event: Event) -> None:
        """Keep the event, or count it as dropped beyond the cap."""
        if self._recorded >= self.cap:
            self._dropped += 1
            return
        self._recorded += 1
        self._rows.append(event)
        if len(self._rows) > self._rows_kept:
            self.flush()

    def add_group(self, comm: str, ranks: list[int], axis: str = "") -> None:
        self._rows.append(Group(comm, ranks, axis))

    def values_of(self, x: Any) -> list | None:
        """The numbers of a small array in one row where values are kept, else None.

        What JSON has no number for stands there as "nan", "inf" or "-inf".
        """
        if not self.values or x.size > VALUES_UP_TO:
            return None
        return [v if math.isfinite(v) else str(v) for v in to_host(x).reshape(-1).tolist()]

    @contextmanager
    def scope(self, name: str, step: int | None = None):
        """Events inside carry the scope's path; the stretch itself becomes an event."""
        outer_path, outer_step = self.scope_path, self.step
        self.scope_path = f"{outer_path}/{name}" if outer_path else name
        self.step = outer_step if step is None else step
        seq, start = self.begin(), self.clock()
        try:
            yield
        finally:
            self.add(Event(seq, "scope", start, self.clock(), step=self.step, scope=self.scope_path))
            self.scope_path, self.step = outer_path, outer_step

    def flush(self) -> None:
        """Write what is recorded so far."""
        with self._lock:
            rows = self._rows[:]  # the rank may append meanwhile; what it adds stays for next time
            if rows and not self._footer_written:
                with open(self._path, "ab", buffering=0) as file:
                    file.write(self._encode(rows))
            del self._rows[: len(rows)]

    def close(self) -> None:
        """Write the rest and the footer; events after that are not kept."""
        if self._closed.is_set():
            return
        self._closed.set()
        self.cap = 0
        self._rows.append(Footer(self._recorded, self._dropped))
        self.flush()
        self._footer_written = True
        atexit.unregister(self.close)

    def _flush_loop(self, seconds: float) -> None:
        while not self._closed.wait(seconds):
            self.flush()


def prepare_folder(folder: str | Path, meta: dict[str, Any]) -> None:
    """Make an empty trace folder with its meta.json; an earlier trace there is replaced.

    errors: TraceError where the folder holds anything that is not a trace, so that a wrong
    path never deletes a user's files.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise TraceError(f"trace folder {folder} is a file; name another folder")
    if folder.is_dir() and any(folder.iterdir()):
        foreign = [f.name for f in folder.iterdir() if not _belongs_to_trace(f.name)]
        if foreign or not (folder / "meta.json").exists():
            name = foreign[0] if foreign else "no meta.json"
            raise TraceError(f"{folder} is no trace folder (it holds {name}); name an empty or new folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    meta = {"format": FORMAT, "program": sys.argv, "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **meta}
    meta = {key: value for key, value in meta.items() if value is not None}
    (folder / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


def _belongs_to_trace(name: str) -> bool:
    return name == "meta.json" or (name.startswith("rank-") and name.endswith(".jsonl"))


# by the code's id, because its hash is computed anew each time; the code is kept, so that no other has its id
_sites: dict[tuple[int, int], tuple[str, Any]] = {}


def site_of(filename: str, line: int) -> str:
    """file:line, the file relative to where the user stands or to the package."""
    return f"{_short_path(filename)}:{line}"


def call_site(frame: Any) -> str:
    """The line that a frame is at."""
    code = frame.f_code
    key = (id(code), frame.f_lasti)
    known = _sites.get(key)
    if known is None:
        known = _sites[key] = (site_of(code.co_filename, frame.f_lineno), code)
    return known[0]


def _short_path(filename: str) -> str:
    path = Path(filename)
    for root in (Path.cwd(), Path(__file__).parents[2]):
        if path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    return path.as_posix()
