"""Two traces compared in logical steps: no times, no hosts, no lines of code, so that two machines agree.

Compared are, rank by rank and in the order in which they were begun, the collective calls (operation,
algorithm, bytes, dtype, reduction, root) and the messages (peer, tag, bytes, dtype, collective, phase).
A communicator is told by its members. A send is an isend. What order says nothing: receives that
follow each other, as a wildcard may take them in any order, and what is under way together, as the
two halves of a sendrecv.

What is missing or too many is counted without regard to order.   Cost: linear in the number of events.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from mpipar.errors import TraceError
from mpipar.trace import COLLECTIVES, Event, Trace
from mpipar.view.steps import MESSAGES, RECEIVES, SENDS, groups, hops, readable_values
from mpipar.view.units import readable_bytes

LOOK_AHEAD = 4  # items that tell a missing one from another one


class Item(NamedTuple):
    """What is compared: a call, a send or a receive.   peer: the root of a call, -1 for none

    scope: "" unless scopes are compared
    """

    what: str
    comm: tuple[int, ...]
    operation: str
    algorithm: str
    phase: str
    peer: int
    tag: int
    bytes: int
    dtype: str
    reduction: str
    scope: str


class Step(NamedTuple):
    """An item with where it came from.   site: of the user's call"""

    item: Item
    event: Event
    site: str


@dataclass
class Difference:
    """first: the sentence on what differs first, "" where nothing does

    kinds: [kind, items and bytes sent in the reference, in yours, missing, added]
    totals: [rank, messages and bytes sent in the reference, in yours], of ranks where they differ
    notes: what could not be compared
    """

    sizes: tuple[int, int]
    first: str = ""
    rank: int = -1
    sites: tuple[str, str] = ("", "")
    kinds: list[dict[str, Any]] = field(default_factory=list)
    totals: list[dict[str, Any]] = field(default_factory=list)
    ranks: list[str] = field(default_factory=list)  # the first difference of every other rank
    notes: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        return not self.first

    def as_data(self) -> dict[str, Any]:
        names = ("sizes", "first", "rank", "sites", "kinds", "totals", "ranks", "notes")
        return {"equal": self.equal} | {name: getattr(self, name) for name in names}


def compare(
    reference: Trace, mine: Trace, tolerance: float | None = None, scopes: bool = False, partial: bool = False
) -> Difference:
    """What differs.   tolerance: of numbers, relative to the largest of a message; None: not compared

    errors: TraceError for a trace that is incomplete, unless `partial`
    """
    found = Difference((reference.size, mine.size))
    for name, trace in (("the reference", reference), ("yours", mine)):
        if trace.problems and not partial:
            raise TraceError(
                f"{trace.folder} is incomplete ({trace.problems[0]}), so a difference would say nothing; "
                "record it again, or compare what is left with --partial"
            )
        found.notes += [f"{name}: {problem}" for problem in trace.problems]
    left, right = ({r: _program(t, r, scopes) for r in range(t.size)} for t in (reference, mine))
    _count(found, left, right)
    if reference.size != mine.size:
        found.first = f"the reference has {reference.size} ranks, yours {mine.size}; run both on as many"
        return found
    places = {r: k for r in left if (k := _first_difference(left[r], right[r])) is not None}
    if places:
        _report(found, reference, places, left, right)
    elif tolerance is not None:
        _compare_values(found, left, right, tolerance)
    return found


def print_difference(found: Difference, console: Console, limit: int = 0) -> None:
    """The first difference, then the tables; at most so many lines of each, 0 for all."""
    as_it_is: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
    for note in found.notes:
        console.print(f"note: {note}", style="yellow", **as_it_is)
    if found.equal:
        sent = sum(kind["reference"] for kind in found.kinds)
        console.print(f"the traces are equal: {found.sizes[0]} ranks, {sent} calls and messages", **as_it_is)
        return
    console.print(f"first difference: {found.first}", style="bold", **as_it_is)
    _some(found.ranks, "then ", console, limit)
    changed = [kind for kind in found.kinds if kind["missing"] or kind["added"]]
    if not changed:
        console.print(
            "each rank makes the same calls and sends the same messages, in another order", **as_it_is
        )
    else:
        console.print(_kinds_table(changed[:limit] if limit else changed))
    lines = [
        f"rank {t['rank']} sends {t['reference_messages']} messages, {readable_bytes(t['reference_bytes'])}, "
        f"in the reference; {t['mine_messages']}, {readable_bytes(t['mine_bytes'])}, in yours"
        for t in found.totals
    ]
    _some(lines, "", console, limit)


def _kinds_table(kinds: list[dict[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, collapse_padding=True)
    table.add_column("kind")
    for column in ("reference", "yours", "bytes", "yours", "missing", "added"):
        table.add_column(column, justify="right", no_wrap=True)
    for k in kinds:
        sizes = (readable_bytes(k["reference_bytes"]), readable_bytes(k["mine_bytes"]))
        counts = (str(k["reference"]), str(k["mine"]))
        table.add_row(k["kind"], *counts, *sizes, str(k["missing"] or ""), str(k["added"] or ""))
    return table


def _some(lines: list[str], start: str, console: Console, limit: int) -> None:
    shown = lines[:limit] if limit else lines
    for line in shown:
        console.print(f"{start}{line}", highlight=False, markup=False, emoji=False)
    if len(shown) < len(lines):
        console.print(f"… and {len(lines) - len(shown)} more; --limit 0 prints all", highlight=False)


def _program(trace: Trace, rank: int, scopes: bool) -> list[Step]:
    """A rank's items in order, with one order for those whose order says nothing."""
    of = trace.ranks.get(rank)
    events = of.events if of else []
    members = {comm: tuple(ranks) for comm, ranks in trace.groups.items()}
    calls = {e.seq: e for e in events if e.op in COLLECTIVES}
    kept = [e for e in events if e.op in MESSAGES or e.op in COLLECTIVES or e.op == "wait"]
    steps: list[Step] = []
    for bunch in _bunches(kept):
        for event in bunch:
            call = calls.get(event.parent)
            scope = f"step {event.step}, {event.scope}" if scopes else ""
            steps.append(Step(_item(event, call, members, scope), event, (call or event).site))
    return steps


def _bunches(events: list[Event]) -> list[list[Event]]:
    """Events in order; together, and sorted, those that are under way at once or only receive."""
    found: list[list[Event]] = []
    for bunch in _under_way(events):
        before = found[-1] if found else []
        same_place = before and before[-1].parent == bunch[0].parent
        if same_place and _only_receives(before) and _only_receives(bunch):
            before += bunch
        else:
            found.append(bunch)
    return [sorted(bunch, key=_canonical) if len(bunch) > 1 else bunch for bunch in found]


def _under_way(events: list[Event]) -> Iterator[list[Event]]:
    """What is begun between two waits, blocking calls or collectives."""
    bunch: list[Event] = []
    for group in groups(events):
        op, parent = group[0].op, group[0].parent
        ends = op == "wait" or op in COLLECTIVES or (bunch and parent != bunch[0].parent)
        if ends and bunch:
            yield bunch
            bunch = []
        if op != "wait":
            bunch += group
        if bunch and op not in ("isend", "irecv"):
            yield bunch
            bunch = []
    if bunch:
        yield bunch


def _only_receives(bunch: list[Event]) -> bool:
    return all(e.op in RECEIVES for e in bunch)


def _canonical(event: Event) -> tuple:
    """Sends first and as they were begun, then receives by where they come from."""
    return (0,) if event.op in SENDS else (1, event.comm, event.peer, event.tag)


def _item(event: Event, call: Event | None, members: dict[str, tuple], scope: str) -> Item:
    of = call or (event if event.op in COLLECTIVES else None)
    what = "call" if of is event else "send" if event.op in SENDS else "recv"
    operation, algorithm = (of.op, of.algorithm) if of else ("", "")
    if of is None and event.parent >= 0:  # the rank was ended inside
        operation = "an unfinished collective"
    return Item(
        what, members.get(event.comm, ()), operation, algorithm, event.phase, event.peer, event.tag,
        event.bytes, event.dtype, event.reduction, scope,
    )  # fmt: skip


def _first_difference(left: list[Step], right: list[Step]) -> int | None:
    for k, (a, b) in enumerate(zip(left, right, strict=False)):
        if a.item != b.item:
            return k
    return None if len(left) == len(right) else min(len(left), len(right))


def _report(found: Difference, reference: Trace, places: dict[int, int], left: dict, right: dict) -> None:
    """Sentences on every rank's first difference, the logically first one apart."""
    step_of = {}
    for hop in hops(reference):
        step_of[hop.sender, hop.sent.seq] = step_of[hop.receiver, hop.received.seq] = hop.step

    def when(rank: int) -> tuple:
        k = places[rank]
        clock = max((step_of.get((rank, s.event.seq), 0) for s in left[rank][:k]), default=0)
        here = step_of.get((rank, left[rank][k].event.seq), clock + 1) if k < len(left[rank]) else clock + 1
        what = (*left[rank][k : k + 1], *right[rank][k : k + 1])[0].item.what
        return here, ("call", "send", "recv").index(what), rank

    order = sorted(places, key=when)
    sentences = [_sentence(r, left[r], right[r], places[r]) for r in order]
    found.first, found.rank, found.ranks = sentences[0], order[0], sentences[1:]
    k = places[order[0]]
    found.sites = tuple(side[order[0]][k].site if k < len(side[order[0]]) else "" for side in (left, right))


def _sentence(rank: int, left: list[Step], right: list[Step], k: int) -> str:
    """What differs at place k, so that a student knows where to look."""
    a, b = (side[k] if k < len(side) else None for side in (left, right))
    if b is None or (a is not None and _follows(left, k + 1, right, k)):
        return f"rank {rank}: yours lacks what the reference does at {a.site}: it {_does(a.item)}"
    if a is None or _follows(right, k + 1, left, k):
        return f"rank {rank}: yours does more than the reference: at {b.site} it {_does(b.item)}"
    if a.item.what != b.item.what or (_comes_soon(a, right, k) and _comes_soon(b, left, k)):
        theirs, mine = (f"{_does(step.item)} first ({step.site})" for step in (a, b))
        return f"rank {rank}: the reference {theirs}, yours {mine}"
    differs = [n for n in Item._fields if getattr(a.item, n) != getattr(b.item, n)]
    if "peer" in differs or "operation" in differs:
        return f"rank {rank}: the reference {_does(a.item)} ({a.site}), yours {_does(b.item)} ({b.site})"
    names = " and ".join(differs)
    said = [" and ".join(_shown(getattr(step.item, n)) for n in differs) for step in (a, b)]
    what = f"{names} {said[0]} in the reference ({a.site}), {said[1]} in yours ({b.site})"
    return f"rank {rank} {_does(a.item)}: {what}"


def _follows(longer: list[Step], i: int, other: list[Step], j: int) -> bool:
    """Whether the next few items from i on are those of the other from j on."""
    ahead, there = ([s.item for s in side[at : at + LOOK_AHEAD]] for side, at in ((longer, i), (other, j)))
    return ahead == there


def _comes_soon(step: Step, side: list[Step], k: int) -> bool:
    return any(s.item == step.item for s in side[k + 1 : k + 1 + LOOK_AHEAD])


def _does(item: Item) -> str:
    if item.what == "call":
        root = f", root {item.peer}" if item.peer >= 0 else ""
        kind = f"{readable_bytes(item.bytes)} of {item.dtype}" + (
            f", {item.reduction}" if item.reduction else ""
        )
        return f"calls {item.operation} {item.algorithm} ({kind}{root})"
    verb, to = ("sends", "to") if item.what == "send" else ("receives", "from")
    name = f"{item.algorithm}_{item.operation}" if item.algorithm else item.operation
    inside = f" in {name}, {item.phase}" if name else ""
    what = f"{readable_bytes(item.bytes)} of {item.dtype}, tag {item.tag}"
    return f"{verb} {to} rank {item.peer} ({what}{inside})"


def _shown(value: Any) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)


def _count(found: Difference, left: dict[int, list[Step]], right: dict[int, list[Step]]) -> None:
    """Calls and messages by kind, and what each rank sends."""
    tables: dict[str, list[int]] = defaultdict(lambda: [0] * 6)
    for r in sorted(left.keys() | right.keys()):
        totals = []
        counts = [Counter(step.item for step in side.get(r, [])) for side in (left, right)]
        for at, own in enumerate(counts):
            sent = [0, 0]
            for item, n in own.items():
                row = tables[_kind(item)]
                row[at] += n
                if item.what == "send":
                    row[2 + at] += n * item.bytes
                    sent = [sent[0] + n, sent[1] + n * item.bytes]
            totals += sent
        for at, (more, less) in enumerate((counts, counts[::-1])):
            for item, n in (more - less).items():
                tables[_kind(item)][4 + at] += n
        if totals[:2] != totals[2:]:
            names = ("reference_messages", "reference_bytes", "mine_messages", "mine_bytes")
            found.totals.append({"rank": r} | dict(zip(names, totals, strict=True)))
    names = ("reference", "mine", "reference_bytes", "mine_bytes", "missing", "added")
    found.kinds = [
        {"kind": kind} | dict(zip(names, row, strict=True)) for kind, row in sorted(tables.items())
    ]


def _kind(item: Item) -> str:
    if item.what == "call":
        return f"{item.operation} {item.algorithm}: calls"
    name = f"{item.operation} {item.algorithm}".strip()
    return f"{name}: {item.what}" if name else item.what


def _compare_values(found: Difference, left: dict, right: dict, tolerance: float) -> None:
    known = 0
    for r in sorted(left):
        for a, b in zip(left[r], right[r], strict=True):
            if a.event.values is None or b.event.values is None:
                continue
            known += 1
            if not found.first and not _close(a.event.values, b.event.values, tolerance):
                numbers = [readable_values(s.event.values[:8]) for s in (a, b)]
                found.first = (
                    f"rank {r} {_does(a.item)}: the numbers are {numbers[0]} in the reference ({a.site}), "
                    f"{numbers[1]} in yours ({b.site})"
                )
                found.rank, found.sites = r, (a.site, b.site)
    if not known:
        found.notes.append(
            "no numbers were compared: record both with --values, on arrays of up to 64 elements"
        )


def _close(a: list, b: list, tolerance: float) -> bool:
    x, y = ([float(v) for v in side] for side in (a, b))
    largest = max((abs(v) for v in x + y if abs(v) < float("inf")), default=0)
    same = (
        p == q or (p != p and q != q) or abs(p - q) <= tolerance * largest for p, q in zip(x, y, strict=False)
    )
    return len(x) == len(y) and all(same)
