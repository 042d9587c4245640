"""A schedule as a grid of text: a row a rank, time to the right.

    step    0  1  2  3  4  5
    rank 0  F0 F1 ·  B0 ·  B1
    rank 1  ·  F0 B0 F1 B1 ·

A grid wider than the page goes on below. An action longer than a cell is drawn out, as B0───. Where
each stage is its rank's only one, its number is left out. `parse` reads grids without a fault.
"""

from typing import NamedTuple

from mpipar.schedule.actions import Action, Schedule
from mpipar.schedule.check import Fault
from mpipar.schedule.timing import Times, timeline, timeline_so_far, unit_times

IDLE = "·"
FINEST = 8  # cells of the longest action at most


class Cell(NamedTuple):
    """start, length: in cells;   marked: has a fault"""

    start: int
    length: int
    label: str
    marked: bool = False


def draw_text(schedule: Schedule, times: Times | None = None, width: int = 100) -> str:
    """The grid, by default of unit steps.   errors: ScheduleError for a schedule that `check` refuses"""
    spans = timeline(schedule, unit_times(schedule) if times is None else times).rows
    takes = [span.end - span.start for row in spans for span in row]
    unit = max(min(takes), max(takes) / FINEST)
    rows = []
    for rank, row in enumerate(spans):
        edges = [(round_half_up(span.start / unit), round_half_up(span.end / unit)) for span in row]
        names = [label(schedule, rank, span.action) for span in row]
        rows.append([Cell(start, end - start, name) for (start, end), name in zip(edges, names, strict=True)])
    return _render(rows, "step" if times is None else "time", unit, width)


def draw_fault(schedule: Schedule, fault: Fault, width: int = 100) -> str:
    """The grid of a wrong schedule: what can run, a bar, what then stands in the rows; ^^ marks the fault."""
    ran = timeline_so_far(schedule, unit_times(schedule)).rows
    stop = max((round_half_up(row[-1].end) for row in ran if row), default=0)
    waiting = fault.absent or any(len(row) > len(done) for row, done in zip(schedule.rows, ran, strict=True))
    rows = []
    for rank, row in enumerate(schedule.rows):
        edges = [(round_half_up(span.start), round_half_up(span.end)) for span in ran[rank]]
        edges += [(stop + 1 + place, stop + 2 + place) for place in range(len(row) - len(edges))]
        marked = {place for r, place in fault.marks if r == rank}
        cells = [
            Cell(start, end - start, label(schedule, rank, action), place in marked)
            for place, ((start, end), action) in enumerate(zip(edges, row, strict=True))
        ]
        if fault.absent and marked:
            end = max([stop + 1, *(end for _, end in edges)])
            cells.append(Cell(end, 1, f"{label(schedule, rank, fault.absent)}?", marked=True))
        rows.append(sorted([*cells, Cell(stop, 1, "│")] if waiting else cells))
    return _render(rows, "step", 1, width)


def label(schedule: Schedule, rank: int, action: Action) -> str:
    """`2F0`, or `F0` where each rank has the stage of its own number."""
    plain = all(stage == home for stage, home in schedule.rank_of.items())
    return f"{action.kind}{action.micro}" if plain else str(action)


def round_half_up(x: float) -> int:
    """So that what is at least a cell long gets at least a cell, wherever it starts."""
    return int(x + 0.5)


def _render(rows: list[list[Cell]], head: str, unit: float, width: int) -> str:
    total = max(row[-1].start + row[-1].length for row in rows if row)
    wide = 1 + max(2, *(len(cell.label) for row in rows for cell in row), len(f"{total - 1}"))
    names = [f"rank {rank}" for rank in range(len(rows))]
    margin = len(names[-1]) + 2
    block = max((width - margin) // wide, 1)
    lines = []
    for first in range(0, total, block):
        cells = range(first, min(first + block, total))
        lines.append(head.ljust(margin) + _ruler(cells, unit, wide))
        for name, row in zip(names, rows, strict=True):
            drawn, carets = _row(row, total, wide)
            part = slice(cells.start * wide, cells.stop * wide)
            lines.append((name.ljust(margin) + drawn[part]).rstrip())
            if carets[part].strip():
                lines.append((" " * margin + carets[part]).rstrip())
        lines.append("")
    return "\n".join(lines)


def _row(row: list[Cell], total: int, wide: int) -> tuple[str, str]:
    drawn, carets = [IDLE.ljust(wide)] * total, [" " * wide] * total
    for start, length, name, marked in row:
        text = name.ljust(length * wide - 1, "─" if length > 1 else " ") + " "
        for k in range(length):
            drawn[start + k] = text[k * wide : (k + 1) * wide]
        if marked:
            carets[start] = ("^" * len(name)).ljust(wide)
    return "".join(drawn), "".join(carets)


def _ruler(cells: range, unit: float, wide: int) -> str:
    """The time at which a cell begins, over as many cells as it takes."""
    every = 1 if unit == 1 else -(-9 // wide)
    times = [f"{cell * unit:.4g}".ljust(wide * every) for cell in cells[::every]]
    return "".join(times).rstrip()
