"""A schedule as a user gives it to a program: as itself, by its name, or as the file of a table."""

from dataclasses import replace
from pathlib import Path

from mpipar.errors import LayoutError, OptionError
from mpipar.schedule.actions import Schedule
from mpipar.schedule.build import SCHEDULES, build
from mpipar.schedule.table import read


def schedule_for(
    schedule: Schedule | str, ranks: int, micro_batches: int | None, virtual: int = 1
) -> Schedule:
    """The schedule for so many ranks.

    micro_batches: None: as many as ranks, or as a table says
    errors: LayoutError where it is for another number of ranks or micro-batches; ScheduleError; OptionError
    """
    if isinstance(schedule, str):
        if schedule in SCHEDULES:
            return build(schedule, ranks, ranks if micro_batches is None else micro_batches, virtual)
        if not Path(schedule).is_file():
            raise OptionError(
                f"there is no schedule and no file {schedule!r}; use {', '.join(SCHEDULES)}, or a table"
            )
        schedule = replace(read(schedule), name=Path(schedule).stem)
    if schedule.ranks != ranks:
        raise LayoutError(
            f"schedule {schedule.name} is for {schedule.ranks} ranks, but the pipeline has {ranks}; "
            f"start {schedule.ranks} ranks of pp, or write a row for each rank"
        )
    if micro_batches not in (None, schedule.micros):
        raise LayoutError(
            f"schedule {schedule.name} has {schedule.micros} micro-batches, not {micro_batches}; "
            "leave micro_batches out, for a written schedule tells them itself"
        )
    return schedule
