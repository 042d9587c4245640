"""`mpipar bench`: each command measures, prints a table with the machine it belongs to, and can keep it."""

import json
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from mpipar.cli.options import Json, Save, count, ranks_option

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


@app.command("allreduce")
def bench_allreduce(
    ranks: Annotated[int, ranks_option("How many ranks add their arrays.")] = 2,
    sizes: Annotated[str, typer.Option(help="Bytes: a list, or a range by factors of 4.")] = "1KiB..64MiB",
    pairs: Annotated[int, typer.Option(min=1, help="Turns of each program, the median of which counts.")] = 7,
    batches: Annotated[int, typer.Option(min=1, help="Batches of a turn, the fastest of which counts.")] = 10,
    as_json: Json = False,
    save: Save = False,
) -> None:
    """An allreduce against MPI's own, against gloo, and against a copy of the memory."""
    from mpipar.bench import allreduce

    result = allreduce.measure(ranks, allreduce.sizes_of(sizes), pairs, batches)
    _bench("allreduce", allreduce.table, result, as_json, save)


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


@app.command("step")
def bench_step(
    workload: Annotated[str, typer.Option(help="mlp, small, gpt, or several with commas.")] = "mlp,small,gpt",
    ranks: Annotated[str, typer.Option(help="Numbers of ranks, with commas.")] = "1,2",
    strategy: Annotated[str, typer.Option(help="Of several ranks: data, zero1, or both.")] = "data,zero1",
    pairs: Annotated[int, typer.Option(min=1, help="Turns of each program, the median of which counts.")] = 7,
    as_json: Json = False,
    save: Save = False,
) -> None:
    """A training step here and with PyTorch DDP, in turns on the same cores."""
    from mpipar.bench import step

    numbers = [*map(count, ranks.split(","))]
    found = step.measure(workload.split(","), numbers, pairs, strategy.split(","))
    _bench("step", step.table, found, as_json, save)


@app.command("scaling")
def bench_scaling(
    workload: Annotated[str, typer.Option(help="mlp, small, gpt, or several with commas.")] = "mlp,gpt",
    ranks: Annotated[int, ranks_option("How many ranks, each with a batch as large as one alone has.")] = 2,
    pairs: Annotated[int, typer.Option(min=1, help="Turns of each program, the median of which counts.")] = 7,
    as_json: Json = False,
    save: Save = False,
) -> None:
    """What a rank's step takes longer when there are more ranks."""
    from mpipar.bench import scaling

    _bench("scaling", scaling.table, scaling.measure(workload.split(","), ranks, pairs), as_json, save)


@app.command("gpu")
def bench_gpu(
    workload: Annotated[str, typer.Option(help="mlp, small, gpt, large, or several with commas.")] = "",
    ranks: Annotated[str, typer.Option(help="Numbers of ranks, with commas; all share one GPU.")] = "1,2,4",
    steps: Annotated[int, typer.Option(min=1, help="Steps of a turn.")] = 10,
    pairs: Annotated[int, typer.Option(min=1, help="Turns of each program, the median of which counts.")] = 7,
    as_json: Json = False,
    save: Save = False,
) -> None:
    """A training step on a GPU, here and with PyTorch; on fake its copies and waits, counted."""
    from mpipar.arrays import BACKEND
    from mpipar.bench import gpu

    names = (workload or gpu.USUAL.get(BACKEND, "")).split(",")
    found = gpu.measure(names, [*map(count, ranks.split(","))], steps, pairs)
    _bench("gpu", gpu.table, found, as_json, save)


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
