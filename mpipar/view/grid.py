"""`mpipar trace steps` in a terminal: a line a message, and what the chunks hold after each step."""

from collections import defaultdict
from typing import Any

from rich.console import Console
from rich.text import Text

from mpipar.errors import TraceError
from mpipar.trace import Trace
from mpipar.view.calls import CallInfo
from mpipar.view.contributions import Frame, Replay, Replayer
from mpipar.view.steps import readable_values
from mpipar.view.units import readable_bytes, readable_count

MOST_ROWS = 16  # ranks of a grid
MOST_NUMBERS = 4  # of a chunk


def step_rows(
    trace: Trace,
    replayer: Replayer,
    call: CallInfo | None = None,
    rank: int | None = None,
    step: int | None = None,
) -> list[dict[str, Any]]:
    """The messages in logical order, as data for --json; of one call, one rank, one training step.

    step: logical, from 1; of one call, counted within it.   errors: TraceError for a rank that is not there
    """
    if rank is not None and not 0 <= rank < trace.size:
        raise TraceError(f"there is no rank {rank}; the trace has ranks 0 … {trace.size - 1}")
    made_by = {(r, event.seq): c for c in replayer.calls for r, event in c.parts.items()}
    phases = _phase_steps(replayer, made_by)
    rows = []
    for hop in replayer.hops:
        sent = hop.sent
        of = made_by.get((hop.sender, sent.parent))
        if (call is not None and of is not call) or rank not in (None, hop.sender, hop.receiver):
            continue
        if step not in (None, sent.step):
            continue
        inside = phases.get((of.number, sent.phase), [0]) if of else []
        name = of.name if of else "unfinished collective" if sent.parent >= 0 else ""
        rows.append({
            "step": hop.inner if call else hop.step, "sender": hop.sender, "receiver": hop.receiver,
            "tag": sent.tag, "bytes": sent.bytes, "dtype": sent.dtype, "comm": sent.comm,
            "call": of and of.number, "name": name,
            "phase": sent.phase, "phase_step": inside.index(hop.inner) + 1 if of else 0,
            "phase_steps": len(inside), "site": of.site if of else sent.site, "training_step": sent.step,
            "values": sent.values,
        })  # fmt: skip
    return sorted(rows, key=lambda row: (row["step"], row["sender"], row["receiver"])) if call else rows


def print_steps(rows: list[dict[str, Any]], console: Console, limit: int = 0) -> None:
    """The first `limit` rows, 0 for all, and how many are left."""
    shown = rows[:limit] if limit else rows
    if not rows:
        console.print("no messages", highlight=False)
        return
    console.out("\n".join(_lines(shown, console.width)), highlight=False)
    _say_left(len(rows) - len(shown), console)


def print_replay(
    made: Replay, rows: list[dict[str, Any]], console: Console, rank: int | None = None, limit: int = 0
) -> None:
    """The call's messages step by step, each step followed by its grid; at most so many messages."""
    title = f"{made.algorithm}_{made.operation} #{made.number}: {readable_bytes(made.bytes)} of {made.dtype}"
    console.out(
        f"{title} on {readable_count(len(made.ranks), 'rank')} of {made.comm}, {made.site}", highlight=False
    )
    if made.note:
        console.print(Text(f"note: {made.note}", style="yellow"))
    if not made.initial:
        if rows:
            print_steps(rows, console, limit)
        return
    by_step: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_step[row["step"]].append(row)
    console.out(_legend(made), highlight=False)
    console.print("at the start")
    _print_grid(made, None, console, rank)
    printed = 0
    for frame in made.frames:
        own = by_step[frame.index]
        if not own:  # of other ranks only
            continue
        if limit and printed + len(own) > limit and printed:
            break
        console.print()
        print_steps(_with_contents(own, frame, _adds(made)), console)
        _print_grid(made, frame, console, rank)
        printed += len(own)
    _say_left(len(rows) - printed, console)


def _say_left(messages: int, console: Console) -> None:
    if messages:
        left = readable_count(messages, "message")
        console.out(
            f"{left} more; --limit 0 shows all, --collective, --step and --rank choose", highlight=False
        )


def _phase_steps(replayer: Replayer, made_by: dict) -> dict[tuple[int, str], list[int]]:
    """(call, phase) -> the steps of the call in which it sends, in order."""
    found: dict[tuple[int, str], set[int]] = defaultdict(set)
    for hop in replayer.hops:
        of = made_by.get((hop.sender, hop.sent.parent))
        if of is not None:
            found[of.number, hop.sent.phase].add(hop.inner)
    return {key: sorted(steps) for key, steps in found.items()}


def _lines(rows: list[dict[str, Any]], width: int) -> list[str]:
    """Columns of equal width; where a line would be too long all sites lose their folder, then it is cut."""
    for short in (False, True):
        cells = [_cells(row, short) for row in rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        if sum(widths) + 2 * (len(widths) - 1) <= width:
            break
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)
    return [line if len(line) <= width else line[: width - 1] + "…" for line in lines]


def _cells(row: dict[str, Any], short: bool) -> list[str]:
    name, phase = row["name"], f"{row['phase']} {row['phase_step']}/{row['phase_steps']}"
    site = row["site"].rpartition("/")[2] if short else row["site"]
    what = [f"{name} #{row['call']} ({phase})" if row["call"] else name or "message", site]
    if "carries" in row:  # of one call, whose name and line stand above
        what = [phase, row["carries"]]
    return [
        f"step {row['step']}",
        f"rank {row['sender']} → {row['receiver']}",
        f"{'chunk' if name else 'tag'} {row['tag']}",
        readable_bytes(row["bytes"]),
        *what,
        readable_values(row["values"]),
    ]


def _with_contents(rows: list[dict[str, Any]], frame: Frame, adds: bool) -> list[dict[str, Any]]:
    """The rows of a step with what each message carries, as 3:{0,1}: chunk 3 of ranks 0 and 1."""
    carried = {(h.sender, h.receiver, h.tag): h.carries for h in frame.hops}
    said = [carried[row["sender"], row["receiver"], row["tag"]] for row in rows]
    return [
        row | {"carries": "carries " + " ".join(f"{chunk}:{_holding(ranks, adds)}" for chunk, ranks in own)}
        for row, own in zip(rows, said, strict=True)
    ]


def _legend(made: Replay) -> str:
    what = "Σ0-2: the sum over ranks 0 to 2" if _adds(made) else "{0}: what rank 0 gave"
    return f"{what}; ·: nothing yet; *: changed in this step; ✓: complete"


def _adds(made: Replay) -> bool:
    return made.reduction != ""


def _print_grid(made: Replay, frame: Frame | None, console: Console, rank: int | None) -> None:
    """A row a rank, a column a chunk; of too many columns those that changed, of too many rows the first."""
    state = frame.state if frame else made.initial
    before = made.initial if frame is None or frame.index == 1 else made.frames[frame.index - 2].state
    values = (frame.values if frame else made.initial_values) or [[None] * len(made.chunks)] * len(made.ranks)
    rows = [i for i, r in enumerate(made.ranks) if rank in (None, r)][:MOST_ROWS]
    moved = [i for i in rows if state[i] is not before[i]]
    changed = {(i, c) for i in moved for c in range(len(made.chunks)) if state[i][c] != before[i][c]}
    first = max(len(f"  rank {r}") for r in made.ranks)

    def column(c: int) -> list[str]:
        texts = [
            _cell(state[i][c], made.goal[i][c], values[i][c], (i, c) in changed, _adds(made)) for i in rows
        ]
        width = max(len(text) for text in (f"chunk {c}", *texts))
        return [text.ljust(width) for text in (f"chunk {c}", *texts)]

    def fitting(chunks: list[int]) -> list[list[str]]:
        found, room = [], console.width - first
        for c in chunks:
            texts = column(c)
            room -= len(texts[0]) + 2
            if room < 0 and found:
                break
            found.append(texts)
        return found

    columns = fitting(list(range(len(made.chunks))))
    if len(columns) < len(made.chunks):
        columns = fitting(sorted({c for _, c in changed}) or list(range(len(made.chunks))))
    names = ["", *(f"  rank {made.ranks[i]}" for i in rows)]
    grid = Text(no_wrap=True, overflow="ellipsis")
    for k, name in enumerate(names):
        grid.append(name.ljust(first))
        for texts in columns:
            grid.append(f"  {texts[k]}", style="bold" if "✓" in texts[k] else "")
        grid.rstrip()
        grid.append("\n")
    left = []
    if len(columns) < len(made.chunks):
        left.append(f"{len(columns)} of {len(made.chunks)} chunks")
    if rank is None and len(rows) < len(made.ranks):
        left.append(f"{len(rows)} of {len(made.ranks)} ranks; --rank shows another")
    grid.append(f"  ({', '.join(left)})" if left else "")
    grid.rstrip()
    console.print(grid, highlight=False)


def _cell(holds: list[int], goal: list[int], values: list | None, changed: bool, adds: bool) -> str:
    text = ("*" if changed else " ") + _holding(holds, adds)
    if values:
        more = " …" if len(values) > MOST_NUMBERS else ""
        text += f" {readable_values(values[:MOST_NUMBERS])}{more}"
    return text + (" ✓" if goal and holds == goal else "")


def _holding(ranks: list[int], adds: bool) -> str:
    """[0, 1, 2] -> Σ0-2 where numbers are added, else {0,1,2}; nothing -> ·"""
    if adds and len(ranks) > 1 and ranks[-1] - ranks[0] == len(ranks) - 1:
        return f"Σ{ranks[0]}-{ranks[-1]}"
    return "{" + ",".join(map(str, ranks)) + "}" if ranks else "·"
