"""`mpipar trace`: each command reads a trace folder, and prints text or, with --json, data."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mpipar.cli.options import Json
from mpipar.errors import TraceError

app = typer.Typer(help="Read the trace of a run.", no_args_is_help=True)
Folder = Annotated[Path, typer.Argument(help="The trace folder.")]


@app.command("summary")
def trace_summary(
    folder: Folder,
    serial: Annotated[
        Path | None, typer.Option("--serial", metavar="FOLDER", help="The same run on one rank.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Where bytes and time went: messages by kind against their lower bound, ranks, figures of the run."""
    from mpipar.trace import read
    from mpipar.view import console, print_summary
    from mpipar.view.summary import summary_report

    trace, alone = read(folder), None if serial is None else read(serial)
    if as_json:
        print(json.dumps(summary_report(trace, alone), indent=2))
    else:
        print_summary(trace, console(), alone)


@app.command("why")
def trace_why(
    folder: Folder,
    number: Annotated[
        str | None, typer.Argument(metavar="[RANK]", help="Only what this rank waited for.")
    ] = None,
    rank: Annotated[str | None, typer.Option("--rank", metavar="R", help="The same as RANK.")] = None,
    as_json: Json = False,
) -> None:
    """Why ranks waited: who came late, at which line, doing what; and what to speed up."""
    from mpipar.trace import read
    from mpipar.view import console
    from mpipar.view.why import print_why, report

    trace = read(folder)
    chosen = rank_of(number if rank is None else rank, trace.size)
    if as_json:
        print(json.dumps(report(trace, chosen), indent=2))
    else:
        print_why(trace, console(), chosen)


def rank_of(text: str | None, size: int) -> int | None:
    """The rank that a command was asked about.   errors: TraceError for none of the trace's"""
    if text is None:
        return None
    if not text.isdecimal() or int(text) >= size:
        raise TraceError(f"there is no rank {text} in the trace; its ranks are 0 … {size - 1}")
    return int(text)


@app.command("perfetto")
def trace_perfetto(
    folder: Folder,
    output: Annotated[Path, typer.Option("-o", "--output", help="The JSON file to write.")],
) -> None:
    """Write a JSON file for ui.perfetto.dev: the program, requests and bytes of each rank, and arrows."""
    from mpipar.trace import read
    from mpipar.view.perfetto import write_perfetto

    trace = read(folder)
    rows, arrows = write_perfetto(trace, output)
    print(f"{output}: {rows} rows, {arrows} arrows; open it in https://ui.perfetto.dev")
    for problem in trace.remarks:
        print(f"note: {problem}")


@app.command("steps")
def trace_steps(
    folder: Folder,
    collective: Annotated[
        str | None, typer.Option(help="One call, by number or name: 17, allreduce, 'allreduce ring'.")
    ] = None,
    step: Annotated[int | None, typer.Option(help="Only messages of this training step.")] = None,
    rank: Annotated[int | None, typer.Option(help="Only messages to or from this rank.")] = None,
    limit: Annotated[int, typer.Option(help="How many messages to print; 0: all.", min=0)] = 200,
    as_json: Json = False,
) -> None:
    """The messages hop by hop in logical order; of one collective, what every chunk holds after each."""
    import msgspec

    from mpipar.trace import read
    from mpipar.view import console
    from mpipar.view.calls import find_call
    from mpipar.view.contributions import Replayer
    from mpipar.view.grid import print_replay, print_steps, step_rows

    trace = read(folder)
    replayer = Replayer(trace)
    call = None if collective is None else find_call(replayer.calls, collective)
    rows = step_rows(trace, replayer, call, rank, step)
    made = None if call is None else replayer.replay(call.number)
    if as_json:
        shown = rows[:limit] if limit else rows
        report = {"messages": len(rows), "hops": shown, "replay": made, "problems": trace.problems}
        print(msgspec.json.format(msgspec.json.encode(report)).decode())
        return
    screen = console()
    if made is None:
        print_steps(rows, screen, limit)
    else:
        print_replay(made, rows, screen, rank, limit)
    for problem in trace.remarks:
        screen.out(f"note: {problem}", highlight=False)


@app.command("diff")
def trace_diff(
    reference: Annotated[Path, typer.Argument(help="The trace folder to compare with.")],
    mine: Annotated[Path, typer.Argument(help="The trace folder to judge.")],
    values: Annotated[
        bool, typer.Option("--values", help="Compare the numbers too, where both have them.")
    ] = False,
    tolerance: Annotated[float, typer.Option(help="Of numbers, relative to the largest.", min=0)] = 1e-5,
    scopes: Annotated[bool, typer.Option("--scopes", help="Compare training steps and scopes too.")] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="Compare what is left of incomplete traces.")
    ] = False,
    limit: Annotated[int, typer.Option(help="How many lines of each list to print; 0: all.", min=0)] = 20,
    as_json: Json = False,
) -> None:
    """Two traces in logical order: what differs first, is missing or too many. Status 1: they differ."""
    from mpipar.trace import read
    from mpipar.view import console
    from mpipar.view.diff import compare, print_difference

    found = compare(read(reference), read(mine), tolerance if values else None, scopes, partial)
    if as_json:
        print(json.dumps(found.as_data(), indent=2))
    else:
        print_difference(found, console(), limit)
    raise typer.Exit(code=int(not found.equal))


@app.command("figure")
def trace_figure(
    folder: Folder,
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write: .svg, .pdf or .png.")],
    collective: Annotated[
        str | None, typer.Option(help="Draw this one hop by hop: its number, or a name, as allreduce.")
    ] = None,
    step: Annotated[int | None, typer.Option(help="Only this training step.")] = None,
    width: Annotated[int, typer.Option(help="Pixels across.")] = 1280,
    theme: Annotated[str, typer.Option(help="light or dark.")] = "light",
) -> None:
    """Draw what each rank did over time, with the messages as arrows; or one collective."""
    from mpipar.trace import read
    from mpipar.view.figure import write_figure

    trace = read(folder)
    write_figure(trace, output, collective, step, width, theme)
    print(output)
    for problem in trace.remarks:
        print(f"note: {problem}")


@app.command("html")
def trace_html(
    folder: Folder,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The HTML file to write; by default FOLDER.html.")
    ] = None,
) -> None:
    """Write one HTML file that replays the run in a browser, offline: timeline, collectives, matrix."""
    from mpipar.trace import read
    from mpipar.view import readable_bytes
    from mpipar.view.html import write_html

    trace = read(folder)
    file = output or folder.parent / f"{folder.resolve().name}.html"
    print(f"{file}: {readable_bytes(write_html(trace, file))}; open it in a browser")
