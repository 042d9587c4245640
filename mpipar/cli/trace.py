"""`mpipar trace`: each command reads a trace folder, and prints text or, with --json, data."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mpipar.cli.options import Json

app = typer.Typer(help="Read the trace of a run.", no_args_is_help=True)
Folder = Annotated[Path, typer.Argument(help="The trace folder.")]


@app.command("summary")
def trace_summary(folder: Folder, as_json: Json = False) -> None:
    """The messages of a run by kind: count, bytes, time, and bytes against the lower bound."""
    from mpipar.trace import read
    from mpipar.view import console, print_summary, summary_rows

    trace = read(folder)
    if as_json:
        report = {"size": trace.size, "kinds": summary_rows(trace), "problems": trace.problems}
        print(json.dumps(report, indent=2))
    else:
        print_summary(trace, console())
