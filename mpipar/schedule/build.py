"""The schedules by name."""

from mpipar.errors import LayoutError, OptionError
from mpipar.schedule.actions import Schedule
from mpipar.schedule.gpipe import gpipe
from mpipar.schedule.interleaved import interleaved
from mpipar.schedule.naive import naive
from mpipar.schedule.one_f_one_b import one_f_one_b
from mpipar.schedule.zero_bubble import zb_h1, zb_h2

SCHEDULES = {
    "naive": naive,
    "gpipe": gpipe,
    "1f1b": one_f_one_b,
    "interleaved": interleaved,
    "zb-h1": zb_h1,
    "zb-h2": zb_h2,
}


def build(name: str, ranks: int, micros: int, virtual: int = 1) -> Schedule:
    """The schedule of this name: P ranks, m micro-batches, `virtual` stages a rank (interleaved only).

    errors: OptionError for an unknown name; LayoutError for numbers that do not fit
    """
    if name not in SCHEDULES:
        raise OptionError(f"there is no schedule {name!r}; use one of {', '.join(SCHEDULES)}")
    for what, number in (("ranks", ranks), ("micro-batches", micros), ("stages a rank", virtual)):
        if number < 1:
            raise LayoutError(f"{name}: {number} {what}; give at least 1")
    if virtual > 1 and name != "interleaved":
        raise LayoutError(f"{name} has one stage a rank, not {virtual}; use interleaved")
    more = (virtual,) if name == "interleaved" else ()
    return Schedule(name, tuple(tuple(SCHEDULES[name](rank, ranks, micros, *more)) for rank in range(ranks)))


def micro_batch_size(batch: int, micros: int) -> int:
    """batch/micros samples.   errors: LayoutError where they do not divide"""
    if micros < 1 or batch < 1 or batch % micros:
        raise LayoutError(
            f"a batch of {batch} samples does not divide into {micros} micro-batches; "
            f"make it a multiple of the number of micro-batches"
        )
    return batch // micros
