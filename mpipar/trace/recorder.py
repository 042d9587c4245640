"""Writes one rank's events to its own append-only file.

Recording appends to a list; a thread encodes and writes four times a second, so a killed
rank loses at most the last quarter of a second. No event is changed once it is written.
A trace that can no longer be written is told once, and the run goes on.
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
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from mpipar.arrays import describe, to_host
from mpipar.errors import TraceError
from mpipar.trace.event import FORMAT, Clock, Event, Footer, Group, Header
from mpipar.trace.memory import EVERY, Memory
from mpipar.trace.scope import Scope

FLUSH_SECONDS = 0.25
CAP = 1_000_000  # events a rank
VALUES_UP_TO = 64  # elements; larger arrays leave their values out
AT_ONCE = 1000  # events that are encoded before the rank may go on, some 0.2 ms


class Recorder:
    """Events of one rank.

    clock: ns, as in Event.start          values: keep the numbers of small messages
    cap: the events that began first are kept, so many
    flush_seconds: None for no thread (virtual ranks, which share a process): then rows are
        written whenever `rows_kept` have come together, and there are no readings of memory,
        since they would be of all ranks at once
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
        self.step = self.micro = -1
        self.scope_path = ""
        self.model: tuple[Any, str] | None = None  # the outermost module being called, and its scope
        self._next_seq = 0
        self._rows: list[Event] = []
        self._kept = self._dropped = self._lost = 0
        self._lock = threading.Lock()  # only one writer; recording itself needs none
        # opened for each write: a thousand virtual ranks are more files than a process may hold open
        self._path = self.folder.absolute() / f"rank-{rank:04}.jsonl"
        self._writable = True  # until the footer is written, or writing fails
        self._rows_kept = rows_kept or cap
        self._closed = threading.Event()
        host, pid = host or socket.gethostname(), os.getpid() if pid is None else pid
        self._about: list[Any] = [Header(FORMAT, rank, size, host, pid, describe())]
        self._memory = None if flush_seconds is None else Memory()
        self._memory_due = math.inf if flush_seconds is None else 0  # by the clock
        # keeps an event; on the path of every message, so that it is the list's own method where it can be
        self.add: Callable[[Event], None] = (
            self._rows.append if flush_seconds is not None else self._add_and_flush
        )
        self._write(b"", "wb")
        if flush_seconds is not None:
            threading.Thread(target=self._flush_loop, args=(flush_seconds,), daemon=True).start()
            atexit.register(self.close)

    def begin(self) -> int:
        """The seq of an event that starts now; its row follows when it ends."""
        seq = self._next_seq
        self._next_seq = seq + 1
        return seq

    def add_group(self, comm: str, ranks: list[int], axis: str = "") -> None:
        self._about.append(Group(comm, ranks, axis))

    def add_clock(self, offset: int, round_trip: int) -> None:
        """This rank's clock plus `offset` is rank 0's now, as a round trip of so many ns has told."""
        self._about.append(Clock(self.clock(), offset, round_trip))

    def values_of(self, x: Any) -> list | None:
        """The numbers of a small array in one row where values are kept, else None.

        What JSON has no number for stands there as "nan", "inf" or "-inf".
        """
        if not self.values or x.size > VALUES_UP_TO:
            return None
        return [v if math.isfinite(v) else str(v) for v in to_host(x).reshape(-1).tolist()]

    def scope(self, name: str, step: int | None = None, micro: int | None = None) -> Scope:
        """Events inside carry the scope's path; the stretch itself becomes an event.

        step, micro: the training step and its micro-batch, by default those around it
        """
        return Scope(self, name, step, micro)

    def below(self, name: str) -> str:
        """The path of a scope of this name that opens now."""
        return f"{self.scope_path}/{name}" if self.scope_path else str(name)

    def scope_ended(self, seq: int, start: int, end: int = 0) -> None:
        """The scope that the recorder is in began then, and ends now, or at `end`."""
        end = end or self.clock()
        event = Event(
            seq, "scope", start, end, "", -1, -1, 0, "", (), "", "", "", -1, self.step, self.micro, "",
            self.scope_path,
        )  # fmt: skip
        self.add(event)
        if end >= self._memory_due:
            self._read_memory(end)

    def _read_memory(self, now: int) -> None:
        self._memory_due = now + EVERY
        for where, held in self._memory.changes():
            read = Event(self.begin(), "memory", now, now, bytes=held, algorithm=where, step=self.step)
            read.scope, read.micro = self.scope_path, self.micro
            self.add(read)

    def _add_and_flush(self, event: Event) -> None:
        self._rows.append(event)
        if len(self._rows) > self._rows_kept:
            self.flush()

    def flush(self) -> None:
        """Write what is recorded so far."""
        with self._lock:
            about, events = self._about[:], self._rows[:]  # what is added meanwhile stays for next time
            del self._about[: len(about)], self._rows[: len(events)]
            if self._next_seq > self.cap:
                kept = [event for event in events if event.seq < self.cap]
                self._dropped += len(events) - len(kept)
                events = kept
            self._keep(about)
            for first in range(0, len(events), AT_ONCE):
                part = events[first : first + AT_ONCE]
                if self._keep(part):
                    self._kept += len(part)
                else:
                    self._lost += len(part)

    def close(self) -> None:
        """Write the rest and the footer; events after that are not kept."""
        if self._closed.is_set():
            return
        self._closed.set()
        self.add = lambda event: None
        self._memory_due = math.inf
        self.flush()
        footer = _encode([Footer(self._kept, self._dropped, self._lost)])
        with suppress(OSError):  # after a failure the last row may be cut short; perhaps there is room again
            _append(self._path, footer if self._writable else b"\n" + footer)
        self._writable = False
        if self._memory is not None:
            self._memory.close()
        atexit.unregister(self.close)

    def _keep(self, rows: list[Any]) -> bool:
        """Write the rows.   returns: whether they are in the file"""
        if rows and self._writable:
            self._write(_encode(rows))
        return self._writable

    def _write(self, content: bytes, mode: str = "ab") -> None:
        try:
            _append(self._path, content, mode)
        except OSError as error:
            self._writable = False
            print(
                f"mpipar: the trace of rank {self.rank} ends here, and the run goes on: {self._path} cannot "
                f"be written ({error.strerror}); give --trace a folder with room, which all hosts can write",
                file=sys.stderr,
                flush=True,
            )

    def _flush_loop(self, seconds: float) -> None:
        while not self._closed.wait(seconds):
            self.flush()


def _plain(x: Any) -> Any:
    """What a row may hold by the user's choice, as a tag that is a NumPy number, as JSON."""
    return x.item() if hasattr(x, "item") else str(x)


_encode = msgspec.json.Encoder(enc_hook=_plain).encode_lines


def _append(path: Path, content: bytes, mode: str = "ab") -> None:
    """All of it, or an OSError: a write to a disk that fills up may end short without one."""
    with open(path, mode, buffering=0) as file:
        while content:
            content = content[file.write(content) :]


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
    meta = {"format": FORMAT, "program": sys.argv, "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **meta}
    meta = {key: value for key, value in meta.items() if value is not None}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise TraceError(
            f"trace folder {folder} cannot be written ({error.strerror}); name another, or none: --trace 0"
        ) from None


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
            path = path.relative_to(root)
            break
    return path.as_posix().encode("utf-8", "replace").decode()  # a name may hold what is no text
