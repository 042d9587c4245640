"""A schedule written by hand, as text or CSV: a line a rank, its actions in order.

    rank 0: F0 F1 .  .  B0 B1      # without a stage, it is the rank's own: stage 0
    rank 1: .  1F0 1B0 1F1 1B1

An action is [stage]kind micro-batch: kind F, B (whole backward), or I and W (split backward).
Commas, semicolons and tabs separate as spaces do, so a spreadsheet's CSV is read as well. `.`, `-`
and empty cells are idle time and mean nothing: an action runs as soon as it can. `rank N` may be
left out, and may return: its line goes on. Lines that begin with `step` or `time`, and what follows a #, are
skipped. So a grid that `draw` printed is a table too.
"""

import re
from pathlib import Path

from mpipar.errors import ScheduleError
from mpipar.schedule.actions import Action, Schedule

RANK = re.compile(r"""[\s"]*rank[\s"]*(\d+)[\s":|]*""", re.IGNORECASE)
ACTION = re.compile(r"(\d*)([FBIW])(\d+)", re.ASCII)
WORD = re.compile(r'[^\s,;"|]+')
IDLE = ".-·─│"


def parse(text: str, name: str = "table") -> Schedule:
    """The schedule that a text describes; it may be wrong (see `check`).

    errors: ScheduleError with the line and column of what cannot be read
    """
    rows: list[list[Action]] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("#")[0]
        if not line.strip(' \t,;"') or line.lower().lstrip(' "').startswith(("step", "time")):
            continue
        named = RANK.match(line)
        rank = int(named[1]) if named else len(rows)
        if rank > len(rows):
            raise ScheduleError(
                f"{name}, line {number}: rank {rank} before rank {len(rows)}; write them in order from 0"
            )
        if rank == len(rows):
            rows.append([])
        for word in WORD.finditer(line, named.end() if named else 0):
            where = f"{name}, line {number}, column {word.start() + 1}"
            rows[rank] += [_action(word[0], rank, where)] if word[0].strip(IDLE) else []
    if not any(rows):
        raise ScheduleError(f"{name} holds no action; write a line a rank, as: rank 0: F0 B0")
    return Schedule(name, tuple(map(tuple, rows)))


def _action(word: str, rank: int, where: str) -> Action:
    found = ACTION.fullmatch(word.upper().rstrip("─"))
    if not found:
        raise ScheduleError(
            f"{where}: {word!r} is no action; write [stage]kind micro-batch without spaces, as F0 or 2F0, "
            "of kind F, B, I or W"
        )
    return Action(int(found[1] or rank), found[2], int(found[3]))


def read(path: str | Path) -> Schedule:
    """The schedule in a file.   errors: ScheduleError where it cannot be read"""
    try:
        return parse(Path(path).read_text(encoding="utf-8-sig"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ScheduleError(f"{path} cannot be read: {reason}; name a text or CSV file") from None


def as_text(schedule: Schedule) -> str:
    """A table that `parse` reads back."""
    return _lines(schedule, ": ", " ")


def as_csv(schedule: Schedule) -> str:
    """The same as CSV, for a spreadsheet."""
    return _lines(schedule, ",", ",")


def _lines(schedule: Schedule, colon: str, space: str) -> str:
    return "".join(f"rank {r}{colon}{space.join(map(str, row))}\n" for r, row in enumerate(schedule.rows))
