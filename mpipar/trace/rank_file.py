"""Reads one rank's file: all rows that can be read, and what is the matter with the others."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from mpipar.trace.event import FORMAT, Clock, Event, Footer, Group, Header, Row

DAMAGE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)  # what a foreign line may raise


@dataclass
class RankTrace:
    """One rank's file: events in the order they began."""

    rank: int
    events: list[Event] = field(default_factory=list)
    groups: dict[str, list[int]] = field(default_factory=dict)
    axes: dict[str, str] = field(default_factory=dict)  # communicator -> axis of the mesh, where it is one
    clocks: list[Clock] = field(default_factory=list)  # of a rank that is not on rank 0's host
    header: Header | None = None
    footer: Footer | None = None


def is_rank_file(file: Path) -> bool:
    """Whether it has the name that a recorder gives, "rank-0003.jsonl"."""
    digits = file.stem.removeprefix("rank-")
    return digits.isdecimal() and len(digits) < 7 and file.name == f"rank-{int(digits):04}.jsonl"


def _number(file: Path) -> int:
    return int(file.stem.removeprefix("rank-"))


def read_rank(file: Path, content: bytes, size: int | None, problems: list[str]) -> RankTrace | None:
    """returns: None for a file that is not of this run"""
    trace, named = RankTrace(rank=_number(file)), len(problems)
    for row in _rows(file, content, problems):
        _take(row, trace)
    foreign = _foreign(trace, size)
    if foreign:
        problems[named:] = [f"{file.name} {foreign}, left out"]
        return None
    trace.events.sort(key=lambda event: event.seq)
    problems += [f"rank {trace.rank}{problem}" for problem in _problems(trace, size)]
    return trace


def _foreign(trace: RankTrace, size: int | None) -> str:
    """Why the file is none of this run's; "" where it is one."""
    if trace.header is not None and trace.header.rank != trace.rank:
        return f"was written by rank {trace.header.rank}"
    if trace.rank >= (size or trace.rank + 1):
        return f"is of no rank of this run, which had {size}"
    return ""


def _problems(trace: RankTrace, size: int | None) -> Iterator[str]:
    header, footer = trace.header, trace.footer
    if header is not None and header.format > FORMAT:
        yield (
            f" wrote trace format {header.format}, and this mpipar reads up to {FORMAT}: what it cannot read "
            "is missing; upgrade mpipar"
        )
    if header is not None and header.size != (size or header.size):
        yield f" was one of {header.size} ranks by its own word, and one of {size} by meta.json's"
    if footer is None:
        yield f" did not end in order: {len(trace.events)} events up to its end"
    elif footer.dropped:
        yield f": {footer.dropped} events beyond the cap were dropped"
    if footer is not None and footer.lost:
        yield f": {footer.lost} events could not be written"


def _rows(file: Path, content: bytes, problems: list[str]) -> list[Row]:
    """All rows that can be read."""
    decoder = msgspec.json.Decoder(Row)
    try:
        return decoder.decode_lines(content)
    except DAMAGE:
        pass
    rows, damaged, unknown = [], [], Counter()
    lines = content.split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                rows.append(decoder.decode(line))
        except DAMAGE:
            kind = _unknown_kind(line)
            if kind is None:
                damaged.append(number)
            else:
                unknown[kind] += 1
    problems += _lacks(file, damaged, unknown, len(lines))
    return rows


def _unknown_kind(line: bytes) -> str | None:
    """The kind of a row that only a newer mpipar knows; None of what is damaged."""
    try:
        kind = msgspec.json.decode(line)["kind"]
    except (*DAMAGE, TypeError, KeyError):
        return None
    known = {row.__struct_config__.tag for row in Row.__args__}
    return kind if isinstance(kind, str) and kind not in known else None


def _lacks(file: Path, damaged: list[int], unknown: Counter, last: int) -> Iterator[str]:
    rank = f"rank {_number(file)}"
    if damaged and damaged[-1] == last:
        damaged.pop()
        yield f"{rank}: a last line cut short in {file.name}, left out"
    if len(damaged) == 1:
        yield f"{rank}: line {damaged[0]} that cannot be read in {file.name}, left out"
    elif damaged:
        lines = (
            f"{len(damaged)} lines that cannot be read in {file.name}, the first of them line {damaged[0]}"
        )
        yield f"{rank}: {lines}, left out"
    for kind, count in unknown.items():
        rows = "a row" if count == 1 else f"{count} rows"
        yield f"{rank}: {rows} of a kind that this mpipar does not know ({kind}), left out; upgrade mpipar"


def _take(row: Row, trace: RankTrace) -> None:
    if isinstance(row, Event):
        trace.events.append(row)
    elif isinstance(row, Group):
        trace.groups[row.comm] = row.ranks
        if row.axis:
            trace.axes[row.comm] = row.axis
    elif isinstance(row, Clock):
        trace.clocks.append(row)
    elif isinstance(row, Header):
        trace.header = row
    else:
        trace.footer = row
