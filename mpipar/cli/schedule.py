"""`mpipar schedule`: pipeline schedules by name or from a table, drawn, checked and timed before any run."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from mpipar.cli.options import Json
from mpipar.errors import OptionError
from mpipar.schedule import (
    SCHEDULES,
    Schedule,
    Times,
    as_csv,
    as_text,
    build,
    draw_fault,
    draw_svg,
    draw_text,
    find_fault,
    peaks,
    read,
)
from mpipar.schedule.formulas import bubble_rate

app = typer.Typer(help="Draw, check and time pipeline schedules.", no_args_is_help=True)
What = Annotated[str, typer.Argument(metavar="SCHEDULE", help=f"{', '.join(SCHEDULES)}, or a table's file.")]
Ranks = Annotated[int | None, typer.Option("--ranks", "-n", help="Of a named schedule; default 4.")]
Micros = Annotated[int | None, typer.Option("--micro-batches", "-m", help="Of a named one; default 8.")]
Virtual = Annotated[int | None, typer.Option(help="Stages a rank, of interleaved; default 2.")]
TimesOption = Annotated[
    str | None,
    typer.Option(metavar="TF,TB,TW,Tcomm", help="Times of a micro-batch on a rank; default: unit steps."),
]


@app.command("draw")
def schedule_draw(
    what: What,
    ranks: Ranks = None,
    micros: Micros = None,
    virtual: Virtual = None,
    times: TimesOption = None,
    output: Annotated[
        Path | None, typer.Option("-o", help="Write FILE.svg, or a table as FILE.csv or FILE.txt.")
    ] = None,
    as_json: Json = False,
) -> None:
    """The grid of a schedule, its bubble, and what each rank holds."""
    from mpipar.view import console
    from mpipar.view.schedule import print_facts, print_grid, schedule_facts

    schedule, given = _schedule(what, ranks, micros, virtual), _times(times)
    facts = schedule_facts(schedule, given, None if given else _formula(what, schedule))
    if output:
        _write(output, schedule, given)
    if as_json:
        rows = [[str(action) for action in row] for row in schedule.rows]
        print(json.dumps({**facts, "actions": rows}, indent=2))
        return
    screen = console()
    print_grid(draw_text(schedule, given, screen.width), screen)
    print_facts(facts, screen)


@app.command("check")
def schedule_check(
    what: What,
    ranks: Ranks = None,
    micros: Micros = None,
    virtual: Virtual = None,
    activations: Annotated[
        int | None, typer.Option(help="The most activations that a rank may hold.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Whether a schedule is complete, in order and free of deadlock; status 1 and the place if not."""
    from mpipar.view import console
    from mpipar.view.schedule import print_grid

    schedule = _schedule(what, ranks, micros, virtual)
    fault = find_fault(schedule, activations)
    if as_json:
        marks = [] if fault is None else [list(mark) for mark in fault.marks]
        print(json.dumps({"fault": fault and fault.text, "marks": marks, "peaks": peaks(schedule)}, indent=2))
    elif fault:
        screen = console()
        print_grid(draw_fault(schedule, fault, screen.width), screen)
        screen.print(f"{schedule.name}: {fault.text}", highlight=False, soft_wrap=True)
    else:
        sizes = f"{schedule.ranks} ranks, {schedule.stages} stages, {schedule.micros} micro-batches"
        print(f"{schedule.name}: complete, in order, no deadlock; {sizes}")
        print(f"activations held at most, by rank: {' '.join(map(str, peaks(schedule)))}")
    raise typer.Exit(code=int(fault is not None))


@app.command("time")
def schedule_time(
    what: Annotated[list[str], typer.Argument(metavar="SCHEDULE...", help="As of draw; several.")],
    ranks: Ranks = None,
    micros: Micros = None,
    virtual: Virtual = None,
    times: TimesOption = None,
    as_json: Json = False,
) -> None:
    """Cost, bubble and memory of schedules side by side; a fused backward takes TB + TW."""
    from mpipar.view import console
    from mpipar.view.schedule import print_comparison, schedule_facts

    given = _times(times) or Times(1, 1, 1)
    stages = {"interleaved": virtual}  # so that it can stand beside those with one stage a rank
    rows = [schedule_facts(_schedule(name, ranks, micros, stages.get(name)), given) for name in what]
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        print_comparison(rows, console())


def _write(path: Path, schedule: Schedule, times: Times | None) -> None:
    writers = {".svg": lambda s: draw_svg(s, times), ".csv": as_csv, ".txt": as_text}
    if path.suffix not in writers:
        raise OptionError(f"-o {path}: the name must end in one of {', '.join(writers)}")
    try:
        path.write_text(writers[path.suffix](schedule), encoding="utf-8")
    except OSError as error:
        raise OptionError(f"-o {path} cannot be written: {error.strerror}; name another file") from None
    print(f"written to {path}", file=sys.stderr)


def _schedule(what: str, ranks: int | None, micros: int | None, virtual: int | None) -> Schedule:
    if what in SCHEDULES:
        usual = (4, 8, 2 if what == "interleaved" else 1)
        given = (ranks, micros, virtual)
        return build(what, *(u if g is None else g for u, g in zip(usual, given, strict=True)))
    if not Path(what).exists():
        raise OptionError(f"there is no schedule and no file {what}; use {', '.join(SCHEDULES)}, or a table")
    if (ranks, micros, virtual) != (None, None, None):
        raise OptionError(
            f"{what} is a table, which tells its own ranks and micro-batches; leave the options out"
        )
    return read(what)


def _times(text: str | None) -> Times | None:
    if text is None:
        return None
    try:
        return Times(*map(float, text.split(",")))
    except (TypeError, ValueError):
        raise OptionError(f"--times {text}: give TF,TB,TW or TF,TB,TW,Tcomm, as 18.5,18.1,9.3,0.6") from None


def _formula(what: str, schedule: Schedule) -> float | None:
    if what not in SCHEDULES:
        return None
    return bubble_rate(what, schedule.ranks, schedule.micros, schedule.stages // schedule.ranks)
