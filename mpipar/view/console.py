"""What rank 0 prints, and how a script reads its arguments.

Under mpirun a rank's output passes through mpirun, and Open MPI shows the rank a terminal that
is not the user's. So the console asks where mpirun's own output goes, and draws a moving
progress bar only if that is a terminal.
"""

import argparse
import os
import shlex
import shutil
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mpipar.comm.world import is_virtual, rank_here
from mpipar.errors import OptionError
from mpipar.failure import LONG_PAUSE
from mpipar.settings import CommandLine, is_off, settings
from mpipar.view.units import readable_path

WIDTH = 100  # columns, where the terminal's are not known
OFFERED = ("help", "values")  # what a script's own options cannot be called


def arguments(description: str, trace: str | None = None, **defaults: Any) -> argparse.Namespace:
    """The script's command line: an option --name for each keyword, of its default's type.

    True and False become --name and --no-name; of a tuple of texts one can be chosen, by default
    the first. --trace FOLDER and --values are offered by every tutorial; `trace` is the default
    folder. The result also has the `description`.
    A wrong argument is reported once, by rank 0, and ends all ranks with status 2.
    In a notebook there is no command line, so the defaults are returned.
    errors: OptionError for a default that tells no type, as None, and for an option that is there already
    """
    parser = _Parser(description=description)
    wanted = settings()
    usual = str(wanted.trace_folder(trace) or "off").replace("%", "%%")
    parser.add_argument("--trace", help=f"folder for the messages (default {usual}; 0: off)")
    parser.add_argument("--values", action="store_true", help="record the numbers that small messages carry")
    for name, default in defaults.items():
        _add_option(parser, name, default)
    given = [] if "ipykernel" in sys.modules else None
    chosen = parser.parse_args(given)
    if chosen.trace is None:
        chosen.trace = wanted.trace_folder(trace)
    else:
        chosen.trace = CommandLine("" if is_off(chosen.trace) else chosen.trace)
    chosen.description = description
    return chosen


def _add_option(parser: argparse.ArgumentParser, name: str, default: Any) -> None:
    offered = default if isinstance(default, tuple) else ()
    default = offered[0] if offered else default
    if name in OFFERED:
        raise OptionError(f"arguments: --{name} is an option of every script already; name yours otherwise")
    if not isinstance(default, (bool, int, float, str, Path)):
        raise OptionError(
            f"arguments: {name}={default!r} does not tell the type of --{name.replace('_', '-')}; give a "
            "number, a text, True or False as its default, or a tuple of the texts to choose from"
        )
    reads = {"choices": offered} if offered else {"type": type(default)}
    if isinstance(default, bool):
        reads = {"action": argparse.BooleanOptionalAction}
    parser.add_argument("--" + name.replace("_", "-"), default=default, help="default %(default)s", **reads)


class _Parser(argparse.ArgumentParser):
    def _print_message(self, message: str, file: Any = None) -> None:
        if rank_here() == 0:
            super()._print_message(message, file)

    def exit(self, status: int = 0, message: str | None = None) -> None:
        if status and rank_here() != 0 and not is_virtual():
            time.sleep(LONG_PAUSE)  # mpirun ends all when one ends so: rank 0 is to speak first
        super().exit(status, message)


def console(rank: int = 0) -> Console:
    """A rich console that prints on rank 0 and is silent elsewhere."""
    terminal, width = _terminal()
    return Console(
        width=width,
        quiet=rank != 0,
        force_terminal=terminal,
        color_system="auto" if terminal else None,
        legacy_windows=False,
        markup=False,  # what we print holds names of folders, and [a] is one
        emoji=False,
    )


def own_command(*words: str) -> str:
    """`mpipar words…` as it can be typed here, where the environment may not be activated."""
    beside, on_path = Path(sys.executable).parent / "mpipar", shutil.which("mpipar")
    if on_path is not None and (not beside.exists() or os.path.samefile(on_path, beside)):
        first = ["mpipar"]
    else:
        program, *more = [beside] if beside.exists() else [Path(sys.executable), "-m", "mpipar.cli"]
        short = readable_path(program)
        first = [short if os.sep in short else str(program), *more]  # a bare name is looked for on PATH
    return shlex.join([*first, *words])


@contextmanager
def progress(screen: Console, total: int, unit: str = "epoch", done: int = 0):
    """A bar of `total` steps: yields advance(text, by=1), to be called after `by` steps with what to show.

    done: of them already
    """
    if not screen.is_terminal or screen.quiet:

        def say(text: str = "", by: int = 1) -> None:
            nonlocal done
            done += by
            screen.print(f"{unit} {done:>{len(str(total))}}/{total}  {text}", highlight=False)

        yield say
        return
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=screen) as bar:
        task = bar.add_task(unit, total=total, completed=done)

        def advance(text: str = "", by: int = 1) -> None:
            bar.update(task, advance=by)
            done = f"{bar.tasks[0].completed:.0f}"
            screen.print(f"{unit} {done:>{len(str(total))}}/{total}  {text}", highlight=False)

        yield advance


def _terminal() -> tuple[bool, int]:
    """Whether the output ends at a terminal, and its columns."""
    if is_virtual():  # the ranks' lines are collected
        return False, WIDTH
    if settings().launcher_variable is None:
        terminal = sys.stdout.isatty()
        return terminal, os.get_terminal_size().columns if terminal else WIDTH
    try:  # Linux: the launcher is our parent; elsewhere we cannot know, and print plainly
        output = os.readlink(f"/proc/{os.getppid()}/fd/1")
        if not output.startswith(("/dev/pts/", "/dev/tty")):
            return False, WIDTH
        with open(output, "rb", buffering=0) as terminal:
            return True, os.get_terminal_size(terminal.fileno()).columns or WIDTH
    except OSError:
        return False, WIDTH
