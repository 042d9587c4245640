"""Options that several commands have."""

from typing import Annotated

import typer

from mpipar.errors import LaunchError


def count(text: str) -> int:
    if not str(text).isdecimal():
        raise LaunchError(f"-n {text} is no number of ranks; give a whole number from 1 on")
    return int(text)


def ranks_option(meaning: str) -> typer.models.OptionInfo:
    return typer.Option("-n", "--ranks", parser=count, metavar="N", help=meaning)


Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Save = Annotated[bool, typer.Option("--save", help="Keep the result beside mpipar/bench.")]
