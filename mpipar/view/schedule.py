"""Pipeline schedules on the terminal: grids in colour, and what a schedule costs."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mpipar.schedule import Schedule, Times, blocking_cycle, lower, peaks, timeline, unit_times

STYLES = {"F": "blue", "B": "green", "I": "green", "W": "yellow"}


def print_grid(grid: str, console: Console) -> None:
    """What draw_text or draw_fault drew, a colour a kind and faults in red."""
    text = Text(grid.rstrip("\n"), no_wrap=True)
    for kind, style in STYLES.items():
        text.highlight_regex(rf"(?<!\w)\d*{kind}\d+─*", style)
    text.highlight_regex(r"\^+", "bold red")
    text.highlight_regex(r"(?m)^(step|time) .*$|·", "dim")
    console.print(text, soft_wrap=True)


def schedule_facts(
    schedule: Schedule, times: Times | None = None, formula: float | None = None
) -> dict[str, Any]:
    """What a schedule costs, for --json: times in the unit of `times`, by default of one step an action."""
    line = timeline(schedule, unit_times(schedule) if times is None else times)
    return {
        "name": schedule.name,
        "ranks": schedule.ranks,
        "stages": schedule.stages,
        "micro_batches": schedule.micros,
        "cost": line.cost,
        "makespan": line.makespan,
        "bubble_rate": line.bubble_rate,
        "bubble_rate_formula": formula,
        "peak_activations": peaks(schedule),
        "messages": sum("SEND" in step.kind for program in lower(schedule) for step in program),
        "blocking_sends_deadlock": [
            f"rank {rank} at {message}" for rank, message in blocking_cycle(schedule)
        ],
    }


def print_facts(facts: dict[str, Any], console: Console) -> None:
    """The facts in four lines."""
    formula = facts["bubble_rate_formula"]
    known = "" if formula is None else f" (formula: {formula:.4f})"
    lines = [
        f"cost {facts['cost']:.6g} from a rank's first start to its last end, bubble rate "
        f"{facts['bubble_rate']:.4f}{known}",
        f"activations held at most, by rank: {' '.join(map(str, facts['peak_activations']))}",
        f"messages: {facts['messages']}",
    ]
    cycle = facts["blocking_sends_deadlock"]
    if cycle:
        lines.append(f"with blocking sends it would deadlock: {', '.join(cycle)}")
    console.print("\n".join(lines), highlight=False)


def print_comparison(rows: list[dict[str, Any]], console: Console) -> None:
    """A line a schedule."""
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("schedule")
    for column in ("cost", "bubble rate", "activations", "messages"):
        table.add_column(column, justify="right")
    for row in rows:
        cost, rate, most = f"{row['cost']:.6g}", f"{row['bubble_rate']:.4f}", max(row["peak_activations"])
        table.add_row(row["name"], cost, rate, str(most), str(row["messages"]))
    console.print(table)
    console.print("activations: the most that any rank holds", style="dim", highlight=False)
