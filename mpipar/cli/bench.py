"""`mpipar bench`: each command measures, prints a table with the machine it belongs to, and can keep it."""

import json
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from mpipar.cli.options import Json, Save, ranks_option

app = typer.Typer(help="Measure what things cost here.", no_args_is_help=True)


@app.command("checks")
def bench_checks(
    pairs: Annotated[int, typer.Option(min=1, help="Pairs of runs, with checking off and on.")] = 7,
    batches: Annotated[int, typer.Option(min=1, help="Batches of a run, the fastest of which counts.")] = 50,
    calls: Annotated[int, typer.Option(min=1, help="Calls of a batch.")] = 200,
    as_json: Json = False,
    save: Save = False,
) -> None:
    """What MPIPAR_CHECK=watch adds to a small message and to a small collective."""
    from mpipar.bench import checks

    _bench("checks", checks.table, checks.measure(pairs, batches, calls), as_json, save)


@app.command("trace")
def bench_trace(
    jobs: Annotated[int, typer.Option(min=1, help="Jobs of two ranks.")] = 5,
    batches: Annotated[int, typer.Option(min=1, help="Batches of a job, the fastest of which counts.")] = 30,
    calls: Annotated[int, typer.Option(min=1, help="Calls of a batch.")] = 500,
    steps: Annotated[int, typer.Option(min=1, help="Training steps of a job, with and without.")] = 50,
    as_json: Json = False,
    save: Save = False,
) -> None:
    """What recording a trace adds to a message, a scope and a training step."""
    from mpipar.bench import trace

    _bench("trace", trace.table, trace.measure(jobs, batches, calls, steps), as_json, save)


@app.command("virtual")
def bench_virtual(
    ranks: Annotated[int, ranks_option("How many virtual ranks exchange messages.")] = 32,
    steps: Annotated[int, typer.Option(min=1, help="Messages that each of them sends.")] = 4000,
    ring_ranks: Annotated[int, typer.Option(min=1, help="Ranks of the ring allreduce.")] = 1024,
    as_json: Json = False,
    save: Save = False,
) -> None:
    """Messages a second on virtual ranks, and the time and memory of a large ring."""
    from mpipar.bench import virtual

    _bench("virtual", virtual.table, virtual.measure(ranks, steps, ring_ranks), as_json, save)


def _bench(name: str, table: Callable, result: dict, as_json: bool, save: bool) -> None:
    """Show a measurement with the machine it belongs to."""
    from mpipar.bench import results
    from mpipar.view import console, readable_path

    result = {"machine": results.machine(), **result}
    if as_json:
        print(json.dumps(result, indent=2))
    else:
        screen = console()
        screen.print(table(result), highlight=False)
        screen.print(results.describe(result["machine"]), style="dim", highlight=False)
    if save:
        path = results.save(name, result)
        print(f"kept in {readable_path(path)}", file=sys.stderr)
