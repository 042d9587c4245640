"""`mpipar`: the command line. Each command is a few lines over a function that can be imported.

A user's mistake is one sentence on standard error and exit status 2.
"""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from mpipar.cli import bench, schedule, trace
from mpipar.cli.options import Json, ranks_option, start
from mpipar.errors import LaunchError, MpiparError
from mpipar.settings import settings

app = typer.Typer(
    help="Distributed training that you can read, watch, check and predict.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(trace.app, name="trace")
app.add_typer(bench.app, name="bench")
app.add_typer(schedule.app, name="schedule")


# what follows the script is the script's, also --help and -n
BELONGS_TO_THE_SCRIPT = {"allow_extra_args": True, "allow_interspersed_args": False}
# these have their own options, which are known when the packages that train are imported
BELONGS_TO_THE_COMMAND = {"ignore_unknown_options": True, "help_option_names": [], **BELONGS_TO_THE_SCRIPT}
# click's; by its name, because newer versions of typer carry a copy of click
UsageMistake = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


@app.command(context_settings=BELONGS_TO_THE_SCRIPT)
def run(
    context: typer.Context,
    script: Annotated[str, typer.Argument(help="A Python script; what follows is passed to it.")],
    ranks: Annotated[int, ranks_option("How many ranks to start.")] = 4,
    mpirun: Annotated[str | None, typer.Option(help="The mpirun to use; default: the environment's.")] = None,
    hostfile: Annotated[str | None, typer.Option(help="A file that names the hosts to use.")] = None,
) -> None:
    """Start a script under mpirun, with the flags and environment it needs here."""
    from mpipar.comm import find_launcher

    if not Path(script).is_file():
        raise LaunchError(f"there is no script {script}; name a Python file")
    start(find_launcher(mpirun), ranks, [script, *context.args], hostfile)


@app.command(context_settings=BELONGS_TO_THE_SCRIPT)
def sim(
    context: typer.Context,
    script: Annotated[str, typer.Argument(help="A Python script; what follows is passed to it.")],
    ranks: Annotated[int, ranks_option("How many virtual ranks.")] = 4,
    network: Annotated[
        str | None, typer.Option(help="A TOML file of links and their times; default: one node.")
    ] = None,
    compute: Annotated[
        str, typer.Option(help="measured: computing takes its time; none: only messages do.")
    ] = "none",
    step: Annotated[bool, typer.Option("--step", help="Stop before each message.")] = False,
) -> None:
    """Run a script on virtual ranks, in one process and in virtual time."""
    from mpipar.comm.sim import run_script
    from mpipar.comm.virtual import topology_of

    watch = None
    if step:
        from mpipar.view.step import Stepper

        watch = Stepper
    sys.exit(run_script(script, context.args, ranks, topology_of(network), compute, watch))


@app.command(context_settings=BELONGS_TO_THE_COMMAND)
def train(context: typer.Context) -> int:
    """Train a model on a mesh of ranks."""
    from mpipar.cli import train

    return train.call("train", context.args)


@app.command(context_settings=BELONGS_TO_THE_COMMAND)
def certify(context: typer.Context) -> int:
    """Compare what a mesh of ranks computes with one rank alone."""
    from mpipar.cli import train

    return train.call("certify", context.args)


@app.command()
def calibrate(
    as_json: Json = False,
    ranks: Annotated[int, ranks_option("How many ranks; two of them measure.")] = 2,
    mpirun: Annotated[str | None, typer.Option(help="The mpirun to use; default: the environment's.")] = None,
) -> None:
    """Measure this machine's messages, so that algorithm="auto" chooses by them from then on."""
    from mpipar.comm import find_launcher

    launcher = find_launcher(mpirun)
    command = launcher.command(ranks, ["-m", "mpipar.comm.calibrate", *(["--json"] if as_json else [])])
    os.execve(command[0], command, launcher.environment())


@app.command()
def doctor(
    as_json: Json = False,
    mistakes: Annotated[
        bool, typer.Option("--mistakes", help="Run wrong programs, and show which are found and where.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option(help="Only programs whose names begin so; may be repeated.")
    ] = None,
    virtual: Annotated[bool, typer.Option("--virtual", help="Run them on virtual ranks.")] = False,
) -> None:
    """What this machine offers, what is missing, and how to get it."""
    from mpipar.view.doctor import examine, print_findings, run_mistakes

    if mistakes:
        run_mistakes(virtual, as_json, tuple(only or ()))
        return
    findings = examine()
    if as_json:
        print(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        print_findings(findings)
    raise typer.Exit(code=int(any(finding.state == "missing" for finding in findings)))


def main() -> None:
    """Entry point of the `mpipar` command."""
    try:
        settings()
        # typer reports mistakes in a box of several lines, unless it is told to raise them
        status = typer.main.get_command(app)(prog_name="mpipar", standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except MpiparError as error:
        print(f"mpipar: {error}", file=sys.stderr)
        sys.exit(2)
    except UsageMistake as error:
        _explain(error)
        sys.exit(2)
    except typer.Abort:
        print("mpipar: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has gone, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _explain(error: Exception) -> None:
    """A mistake in the command line, as one sentence."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return
    text = " ".join(error.format_message().split()).rstrip(".?").replace(". Did you", "; did you")
    where = error.ctx.command_path if getattr(error, "ctx", None) else "mpipar"
    print(f"mpipar: {text[:1].lower()}{text[1:]}; see {where} --help", file=sys.stderr)
