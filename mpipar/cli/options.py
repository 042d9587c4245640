"""What several commands have: options, and the start of mpirun."""

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

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


def start(launcher: Any, ranks: int, program: list[str], hostfile: str | None = None) -> NoReturn:
    """Say the command that starts the program on so many ranks, and become it."""
    from mpipar.view import readable_path

    if hostfile is not None and not Path(hostfile).is_file():
        raise LaunchError(
            f"there is no hostfile {hostfile}; name a file with a line 'address slots=4' a host"
        )
    command = launcher.command(ranks, program, hostfile)
    print("$ " + shlex.join(map(readable_path, command)), file=sys.stderr, flush=True)
    os.execve(command[0], command, launcher.environment())
