"""`mpipar train` and `mpipar certify`: the same options, checked before any rank is started."""

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, get_type_hints

import typer

from mpipar import failure
from mpipar.cli.options import ranks_option, start
from mpipar.comm import Communicator, find_launcher, virtual, world
from mpipar.errors import LaunchError, MpiparError, OptionError
from mpipar.parallel.job import checked
from mpipar.parallel.options import Options
from mpipar.parallel.saving import Saving, check_saving
from mpipar.settings import CommandLine, is_off, settings
from mpipar.view import training_report


@dataclass(frozen=True)
class Where:
    """On which ranks, and what is recorded."""

    ranks: int | None
    virtual: bool
    network: str | None
    compute: str
    mpirun: str | None
    hostfile: str | None
    trace: str | None
    values: bool

    def words(self) -> list[str]:
        """For the ranks."""
        return [*(["--trace", self.trace] if self.trace is not None else []), *["--values"] * self.values]

    def check(self, is_rank: bool) -> None:
        """Refuse what would have no effect.   is_rank: mpirun runs already   errors: OptionError"""
        for name in ("network", "compute"):
            if not self.virtual and getattr(self, name) != WHERE[name][1]:
                raise OptionError(f"--{name} is for virtual ranks; give --virtual, too, or leave it out")
        for name in ("mpirun", "hostfile"):
            if (self.virtual or is_rank) and getattr(self, name) is not None:
                why = "virtual ranks are in this process" if self.virtual else "the ranks run already"
                raise OptionError(f"--{name} is for starting mpirun, and {why}; leave it out")


STEPS = 3
WHERE: dict[str, tuple[Any, Any]] = {
    "ranks": (Annotated[int | None, ranks_option("How many ranks, where --mesh does not say.")], None),
    "virtual": (Annotated[bool, typer.Option("--virtual", help="Virtual ranks, in this process.")], False),
    "network": (Annotated[str | None, typer.Option(help="Of virtual ranks: a TOML file.")], None),
    "compute": (Annotated[str, typer.Option(help="Of virtual ranks: none or measured.")], "none"),
    "mpirun": (Annotated[str | None, typer.Option(help="The mpirun to use.")], None),
    "hostfile": (Annotated[str | None, typer.Option(help="A file that names the hosts to use.")], None),
    "trace": (Annotated[str | None, typer.Option(help="A folder to record messages in; 0: none.")], None),
    "values": (Annotated[bool, typer.Option("--values", help="Record the numbers of small ones.")], False),
}
CERTIFY: dict[str, tuple[Any, Any]] = {
    "check_steps": (Annotated[int, typer.Option(min=1, help="Steps to compare.")], STEPS),
    "as_json": (Annotated[bool, typer.Option("--json", help="Print JSON instead of a sentence.")], False),
}


def _offered(options: type) -> dict[str, tuple[Any, Any]]:
    """Of a dataclass of options: field -> (type with its flag, default)."""
    hints, offered = get_type_hints(options), {}
    for one in fields(options):
        flag = typer.Option("--" + one.name.replace("_", "-"), help=one.metadata["help"])
        offered[one.name] = Annotated[hints[one.name], flag], one.default
    return offered


def call(name: str, words: list[str]) -> int:
    """`mpipar name words…`.   returns: the exit status"""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    commands = {"train": (train, _offered(Saving)), "certify": (certify, CERTIFY)}
    app.command()(_with_options(*commands[name]))
    command = typer.main.get_command(app)
    status = command(args=words, prog_name=f"mpipar {name}", standalone_mode=False)
    return status if isinstance(status, int) else 0


def train(options: Options, where: Where, **given: Any) -> int:
    """Train a model on a mesh of ranks: starts mpirun, or just trains where mpirun started it."""
    saving = Saving(**given)

    def check(options: Options) -> None:
        check_saving(saving, options, checked(options))

    def on_rank(world: Communicator, options: Options) -> None:
        computing = not where.virtual or where.compute != "none"
        training_report.train(world, options, saving, computing)

    return _carry_out("train", options, where, saving.words(), on_rank, check)


def certify(options: Options, where: Where, check_steps: int, as_json: bool) -> int:
    """Compare a layout with one rank alone, in float64: losses, outputs, gradients, parameters."""

    def on_rank(world: Communicator, options: Options) -> bool:
        return training_report.certificate(world, options, check_steps, as_json).equal

    more = [*["--check-steps", str(check_steps)] * (check_steps != STEPS), *["--json"] * as_json]
    return _carry_out("certify", options, where, more, on_rank, checked)


def _carry_out(
    name: str, options: Options, where: Where, more: list[str], on_rank: Callable, check: Callable
) -> int:
    """check(options), then on_rank(world, options) here, on virtual ranks, or by `mpirun … mpipar name …`."""
    is_rank = settings().launcher_variable is not None and not where.virtual
    try:
        where.check(is_rank)
        options = _with_mesh(options, where, settings().launcher_size if is_rank else None)
        check(options)
    except MpiparError as error:
        if is_rank:  # all ranks' mistake: rank 0 says it, and ends the others
            failure.report(OptionError, OptionError(str(error)), None)
            sys.exit(2)
        raise
    if is_rank:
        return _here(options, where, on_rank)
    if where.virtual:
        folder = _folder(where.trace)
        equal = virtual.run(
            on_rank, options.ranks, where.network, folder, where.compute, (options,), values=where.values
        )
        return int(equal[0] is False)
    program = ["-m", "mpipar.cli", name, *options.words(), *where.words(), *more]
    start(find_launcher(where.mpirun), options.ranks, program, where.hostfile)


def _with_mesh(options: Options, where: Where, started: int | None) -> Options:
    """started: how many ranks run already   errors: LaunchError for another number than the mesh has"""
    ranks = next(n for n in (started, where.ranks, options.ranks) if n is not None)
    if ranks < 1:
        raise LaunchError(f"{ranks} ranks cannot run anything; ask for 1 or more")
    if not options.mesh:
        options = replace(options, mesh=f"dp={ranks}")
    elif options.ranks != ranks:
        there = f"{started} ranks were started" if started else f"-n is {ranks}"
        raise LaunchError(
            f"--mesh {options.mesh} has {options.ranks} ranks, but {there}; let both be the same, or leave "
            f"{'--mesh' if started else '-n'} out"
        )
    return options


def _here(options: Options, where: Where, on_rank: Callable) -> int:
    """This process is a rank."""
    try:
        return int(on_rank(world(_folder(where.trace), where.values), options) is False)
    except MpiparError:
        failure.report(*sys.exc_info())
        sys.exit(2)


def _folder(trace: str | None) -> Any:
    return None if trace is None else CommandLine("" if is_off(trace) else trace)


def _with_options(command: Callable, more: dict[str, tuple[Any, Any]]) -> Callable:
    """The command with an option for each field of Options, and those of Where and `more`."""
    offered = _offered(Options) | WHERE | more

    def called(**given: Any) -> int:
        options = Options(**{one.name: given.pop(one.name) for one in fields(Options)})
        where = Where(**{one.name: given.pop(one.name) for one in fields(Where)})
        return command(options, where, **given)

    kind = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter(name, kind, default=default, annotation=hint)
        for name, (hint, default) in offered.items()
    ]
    called.__signature__, called.__doc__ = inspect.Signature(parameters), command.__doc__
    called.__annotations__ = {one.name: one.annotation for one in parameters}
    return called
