"""The pipeline that options describe: its schedule and stages, checked before anything runs."""

from collections.abc import Callable, Sequence
from typing import Any

from mpipar.errors import LayoutError, OptionError, ScheduleError
from mpipar.nn import Layer
from mpipar.parallel.options import Options
from mpipar.parallel.stages import PARTITIONS, cut_layers
from mpipar.schedule import Schedule, by_weight, lower, schedule_for

TIME = "time"  # measured, so not among stages.PARTITIONS


def schedule_of(options: Options) -> Schedule | None:
    """Of all pp ranks; None without a pipeline.   errors: as schedule_for and lower"""
    ranks = options.sizes.get("pp", 1)
    if ranks == 1:
        return None
    try:
        found = schedule_for(options.schedule, ranks, options.micro_batches, options.virtual_stages)
        lower(found)
    except ScheduleError as error:
        raise ScheduleError(f"--schedule {options.schedule}: {error}") from None
    return found


def micros_of(options: Options) -> int:
    """Micro-batches of a rank's samples."""
    schedule = schedule_of(options)
    return options.micro_batches or (1 if schedule is None else schedule.micros)


def partition_of(
    options: Options, layers: Sequence[Layer], stages: int, seconds: Callable[[], Sequence[float]]
) -> list[range]:
    """Which layers are a stage.   seconds: measures what each layer takes, for time

    errors: LayoutError for fewer layers than stages, or sizes that do not fit; OptionError
    """
    if options.partition != TIME:
        return cut_layers(layers, stages, _partition(options))
    weights = seconds()
    return by_weight(weights, stages) if any(weights) else cut_layers(layers, stages)


def check_pipeline(options: Options, layers: Sequence[Layer]) -> None:
    """layers: of the whole model   errors: as above; LayoutError for micro-batches that do not divide"""
    schedule = schedule_of(options)
    if schedule is None:
        for name in ("schedule", "virtual_stages", "partition", "recompute"):
            if getattr(options, name) != getattr(Options, name):
                raise OptionError(
                    f"--{name.replace('_', '-')} is for pipelines; give --mesh pp=2 or more, or leave it out"
                )
        return
    partition_of(options, layers, schedule.stages, lambda: [0.0] * len(layers))
    dp, batch = options.sizes.get("dp", 1), options.batch
    parts = dp * schedule.micros
    if batch % parts:
        fits = sorted({max(batch // parts, 1) * parts, (batch // parts + 1) * parts})
        raise LayoutError(
            f"--batch {batch}: dp={dp} ranks with {schedule.micros} micro-batches each need a multiple of "
            f"{parts}; give --batch {' or '.join(map(str, fits))}"
        )


def _partition(options: Options) -> Any:
    if options.partition in PARTITIONS:
        return options.partition
    words = options.partition.split(",")
    if not all(word.strip().isdecimal() for word in words):
        offered = ", ".join([*PARTITIONS, TIME])
        raise OptionError(
            f"--partition {options.partition} is unknown; choose one of {offered}, or the number of layers "
            "of each stage as 3,3,2"
        )
    return [int(word) for word in words]
