"""Reads a trace folder back, as much of it as there is.

A rank that was killed leaves a file without a footer, perhaps with half a last line. All
that can be read is returned, and each lack becomes a sentence in `Trace.problems`.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from mpipar.errors import TraceError
from mpipar.trace.event import COLLECTIVES, FORMAT, Event, Footer, Group, Header, Row


@dataclass
class RankTrace:
    """One rank's file: events in the order they began."""

    rank: int
    events: list[Event] = field(default_factory=list)
    groups: dict[str, list[int]] = field(default_factory=dict)
    axes: dict[str, str] = field(default_factory=dict)  # communicator -> axis of the mesh, where it is one
    header: Header | None = None
    footer: Footer | None = None


@dataclass
class Trace:
    """A whole folder.   problems: what is missing, one sentence each"""

    folder: Path
    meta: dict[str, Any]
    size: int
    ranks: dict[int, RankTrace]
    problems: list[str]

    @property
    def groups(self) -> dict[str, list[int]]:
        """Members of every communicator that any rank named."""
        merged: dict[str, list[int]] = {}
        for rank in self.ranks.values():
            merged.update(rank.groups)
        return merged

    @property
    def axes(self) -> dict[str, str]:
        """The axis of the mesh that a communicator is, for those that are one."""
        merged: dict[str, str] = {}
        for rank in self.ranks.values():
            merged.update(rank.axes)
        return merged

    def events(self) -> Iterator[tuple[int, Event]]:
        """(rank, event) of all ranks, rank by rank."""
        for rank, trace in sorted(self.ranks.items()):
            for event in trace.events:
                yield rank, event


def read(folder: str | Path) -> Trace:
    """Read a trace folder.

    errors: TraceError where there is no folder, no meta.json, a damaged one, or a newer format.
    """
    folder = Path(folder)
    meta = _read_meta(folder)
    problems: list[str] = []
    files = sorted(folder.glob("rank-*.jsonl"))
    ranks = {}
    for file in files:
        if not file.stem.removeprefix("rank-").isdecimal():
            problems.append(f"{file.name} is no rank's file, left out")
            continue
        try:
            content = file.read_bytes()
        except OSError as error:
            problems.append(f"{file.name} cannot be read ({error.strerror}), left out")
            continue
        trace = _read_rank(file, content, problems)
        ranks[trace.rank] = trace
    size = meta.get("size") or max(ranks, default=-1) + 1
    missing = sorted(set(range(size)) - set(ranks))
    if missing:
        named = ", ".join(map(str, missing[:8])) + (", …" if len(missing) > 8 else "")
        problems.append(f"{len(missing)} of {size} ranks left no file: {named}")
    return Trace(folder, meta, size, ranks, problems)


def pair_messages(trace: Trace) -> list[tuple[int, Event, int, Event]]:
    """Match every send with its receive: (sender, send, receiver, receive).

    MPI keeps the order of messages between two ranks with one tag on one communicator, so the
    k-th send matches the k-th receive; inside collectives, of the same one. A message without a
    partner is left out.
    """
    number = _numbers(trace)
    queues: dict[tuple, list[Event]] = defaultdict(list)
    for rank, event in trace.events():
        if event.op in ("send", "isend"):
            call = number.get((rank, event.parent), -1)
            queues[event.comm, rank, event.peer, event.tag, call].append(event)
    taken: dict[tuple, int] = defaultdict(int)
    pairs = []
    for rank, event in trace.events():
        if event.op in ("recv", "irecv"):
            key = (event.comm, event.peer, rank, event.tag, number.get((rank, event.parent), -1))
            if taken[key] < len(queues[key]):
                pairs.append((event.peer, queues[key][taken[key]], rank, event))
                taken[key] += 1
    return pairs


def _numbers(trace: Trace) -> dict[tuple[int, int], int]:
    """(rank, seq) of a collective -> which one of its communicator it is, also of one that never ended."""
    number: dict[tuple[int, int], int] = {}
    for rank, of in trace.ranks.items():
        found: dict[str, set[int]] = defaultdict(set)
        for event in of.events:
            if event.op in COLLECTIVES:
                found[event.comm].add(event.seq)
            elif event.op in ("send", "recv", "isend", "irecv") and event.parent >= 0:
                found[event.comm].add(event.parent)
        for seqs in found.values():
            number |= {(rank, seq): k for k, seq in enumerate(sorted(seqs))}
    return number


def collective_calls(trace: Trace) -> dict[tuple[str, int], dict[int, Event]]:
    """Every collective call: (communicator, k) -> its event on each of the ranks, by rank.

    All ranks of a communicator call its collectives in the same order, so the k-th event of one
    belongs to the k-th of the others.
    """
    calls: dict[tuple[str, int], dict[int, Event]] = defaultdict(dict)
    for rank, of in sorted(trace.ranks.items()):
        count: dict[str, int] = defaultdict(int)
        for event in of.events:
            if event.op in COLLECTIVES:
                calls[event.comm, count[event.comm]][rank] = event
                count[event.comm] += 1
    return dict(calls)


def _read_meta(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise TraceError(f"there is no trace folder {folder}; run a tutorial, or a script with MPIPAR_TRACE")
    file = folder / "meta.json"
    if not file.exists():
        raise TraceError(f"{folder} holds no meta.json, so it is no trace folder; name the folder itself")
    try:
        meta = json.loads(file.read_text(encoding="utf-8"))
        version = meta["format"]
        size = meta.get("size", 1)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise TraceError(f"{file} is damaged or foreign ({error}); record the run again") from None
    if not isinstance(version, int) or version > FORMAT:
        raise TraceError(
            f"{folder} has trace format {version}, this mpipar reads up to {FORMAT}; upgrade mpipar"
        )
    if type(size) is not int or size < 1:
        raise TraceError(f"{file} is damaged: size {size!r} is no count of ranks; record the run again")
    return meta


def _read_rank(file: Path, content: bytes, problems: list[str]) -> RankTrace:
    trace = RankTrace(rank=int(file.stem.removeprefix("rank-")))
    decode = msgspec.json.Decoder(Row).decode
    lines = content.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = decode(line)
        except msgspec.MsgspecError:
            last = number == len(lines)
            what = "a last line cut short" if last else f"line {number} that cannot be read"
            problems.append(f"rank {trace.rank}: {what} in {file.name}, left out")
            continue
        _take(row, trace)
    trace.events.sort(key=lambda event: event.seq)
    if trace.footer is None:
        problems.append(f"rank {trace.rank} did not end in order: {len(trace.events)} events up to its end")
    elif trace.footer.dropped:
        problems.append(f"rank {trace.rank}: {trace.footer.dropped} events beyond the cap were dropped")
    return trace


def _take(row: Row, trace: RankTrace) -> None:
    if isinstance(row, Event):
        trace.events.append(row)
    elif isinstance(row, Group):
        trace.groups[row.comm] = row.ranks
        if row.axis:
            trace.axes[row.comm] = row.axis
    elif isinstance(row, Header):
        trace.header = row
    else:
        trace.footer = row
