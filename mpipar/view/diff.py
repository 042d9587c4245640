"""Two traces compared in logical steps: no times, no hosts, no lines of code, so that two machines agree.

Compared are, rank by rank and in the order in which they were begun (program.py), the collective calls
(operation, algorithm, bytes, dtype, reduction, root) and the messages (peer, tag, bytes, dtype,
collective, phase).

What is missing or too many is counted without regard to order.   Cost: linear in the number of events.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from mpipar.errors import TraceError
from mpipar.trace import Trace
from mpipar.view.program import Item, Step, program
from mpipar.view.steps import hops, readable_values
from mpipar.view.tables import AS_IT_IS, table_of, wrapped
from mpipar.view.units import readable_bytes, readable_count

LEGEND = "a call of p ranks counts p times here, once a rank; bytes are those of sends"
LOOK_AHEAD = 4  # items that tell a missing one from another one


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
    left, right = ({r: program(t, r, scopes) for r in range(t.size)} for t in (reference, mine))
    _count(found, left, right)
    if reference.size != mine.size:
        ranks = readable_count(reference.size, "rank")
        found.first = f"the reference has {ranks}, yours {mine.size}; run both on as many"
        return found
    places = {r: k for r in left if (k := _first_difference(left[r], right[r])) is not None}
    if places:
        _report(found, reference, places, left, right)
    elif tolerance is not None:
        _compare_values(found, left, right, tolerance)
    return found


def print_difference(found: Difference, console: Console, limit: int = 0) -> None:
    """The first difference, then the tables; at most so many lines of each, 0 for all."""
    for note in found.notes:
        console.print(f"note: {note}", style="yellow", **AS_IT_IS)
    if found.equal:
        sent = sum(kind["reference"] for kind in found.kinds)
        ranks = readable_count(found.sizes[0], "rank")
        console.print(f"the traces are equal: {ranks}, {sent} calls and messages", **AS_IT_IS)
        return
    console.print(wrapped(f"first difference: {found.first}", console.width), style="bold", **AS_IT_IS)
    _some(found.ranks, "then ", console, limit)
    changed = [kind for kind in found.kinds if kind["missing"] or kind["added"]]
    if not changed:
        console.print(
            "each rank makes the same calls and sends the same messages, in another order", **AS_IT_IS
        )
    else:
        console.print()
        console.print(_kinds_table(changed[:limit] if limit else changed))
        console.print(LEGEND, style="dim", **AS_IT_IS)
        console.print()
    lines = [
        f"rank {t['rank']} sends {t['reference_messages']} messages, {readable_bytes(t['reference_bytes'])}, "
        f"in the reference; {t['mine_messages']}, {readable_bytes(t['mine_bytes'])}, in yours"
        for t in found.totals
    ]
    _some(lines, "", console, limit)


def _kinds_table(kinds: list[dict[str, Any]]) -> Table:
    columns = ("reference", "yours", "bytes", "yours", "missing", "added")
    table = table_of("", "kind", *columns, left=("kind",))
    for k in kinds:
        sizes = (readable_bytes(k["reference_bytes"]), readable_bytes(k["mine_bytes"]))
        counts = (str(k["reference"]), str(k["mine"]))
        table.add_row(k["kind"], *counts, *sizes, str(k["missing"] or ""), str(k["added"] or ""))
    return table


def _some(lines: list[str], start: str, console: Console, limit: int) -> None:
    shown = lines[:limit] if limit else lines
    for line in shown:
        console.print(wrapped(f"{start}{line}", console.width), **AS_IT_IS)
    if len(shown) < len(lines):
        console.print(f"… and {len(lines) - len(shown)} more; --limit 0 prints all", highlight=False)


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
        return f"rank {rank}: yours lacks what the reference does at {a.site}: it {a.item}"
    if a is None or _follows(right, k + 1, left, k):
        return f"rank {rank}: yours does more than the reference: at {b.site} it {b.item}"
    if a.item.what != b.item.what or (_comes_soon(a, right, k) and _comes_soon(b, left, k)):
        theirs, mine = (f"{step.item} first ({step.site})" for step in (a, b))
        return f"rank {rank}: the reference {theirs}, yours {mine}"
    differs = [n for n in Item._fields if getattr(a.item, n) != getattr(b.item, n)]
    if "peer" in differs or "operation" in differs:
        return f"rank {rank}: the reference {a.item} ({a.site}), yours {b.item} ({b.site})"
    names = " and ".join(differs)
    said = [" and ".join(_shown(getattr(step.item, n)) for n in differs) for step in (a, b)]
    what = f"{names} {said[0]} in the reference ({a.site}), {said[1]} in yours ({b.site})"
    return f"rank {rank} {a.item}: {what}"


def _follows(longer: list[Step], i: int, other: list[Step], j: int) -> bool:
    """Whether the next few items from i on are those of the other from j on."""
    ahead, there = ([s.item for s in side[at : at + LOOK_AHEAD]] for side, at in ((longer, i), (other, j)))
    return ahead == there


def _comes_soon(step: Step, side: list[Step], k: int) -> bool:
    return any(s.item == step.item for s in side[k + 1 : k + 1 + LOOK_AHEAD])


def _shown(value: Any) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)


def _count(found: Difference, left: dict[int, list[Step]], right: dict[int, list[Step]]) -> None:
    """Calls and messages by kind, and what each rank sends."""
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for r in sorted(left.keys() | right.keys()):
        a, b = (Counter(step.item for step in side.get(r, [])) for side in (left, right))
        for item in a | b:
            kinds[item.kind].update(_kind_row(item, a[item], b[item]))
        totals = {"reference": _sent(a), "mine": _sent(b)}
        if totals["reference"] != totals["mine"]:
            row = {f"{side}_{what}": n for side, sent in totals.items() for what, n in sent.items()}
            found.totals.append({"rank": r, **row})
    found.kinds = [{"kind": kind, **row} for kind, row in sorted(kinds.items())]


def _kind_row(item: Item, reference: int, mine: int) -> dict[str, int]:
    """An item that is so many times in the reference and in yours, as a row of `kinds`."""
    nbytes = item.bytes if item.what == "send" else 0
    return {
        "reference": reference,
        "mine": mine,
        "reference_bytes": reference * nbytes,
        "mine_bytes": mine * nbytes,
        "missing": max(reference - mine, 0),
        "added": max(mine - reference, 0),
    }


def _sent(items: Counter[Item]) -> dict[str, int]:
    sends = {item: n for item, n in items.items() if item.what == "send"}
    return {"messages": sum(sends.values()), "bytes": sum(n * item.bytes for item, n in sends.items())}


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
                    f"rank {r} {a.item}: the numbers are {numbers[0]} in the reference ({a.site}), "
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
