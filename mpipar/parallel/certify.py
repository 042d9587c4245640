"""The certificate: a layout computes what one rank alone would.

Every rank trains its part of the layout and, beside it, the whole serial twin, in float64, and
compares its part of every tensor with the twin's in the order in which they are computed:

    initial values                    then, a step:
    outputs of modules                forward; block r of the twin's where ranks share a dim; a stage's own
    the loss
    gradients                         in the order in which the twin's backward completes them; of ZeRO
                                      each rank's piece
    clipped gradients                 those that the optimizer gets, where one of the two clips
    parameters                        after the update

Where a training is chaotic, rounding would grow from step to step. So once a step's outputs, loss and
gradients are equal, the twin goes on from the layout's parameters and gradients: a limit has to bear
the rounding of one update and of one step from there.

The first that differs is nearest to the mistake: all that it was computed from was equal. What
the difference looks like tells which mistake, see evidence/.

When is a difference one? Both add the same numbers in another order. With eps = 2.2e-16 a sum of n
terms has a relative error of about √n eps, which layers behind it carry on and norms of small numbers
magnify. Of all outputs, losses and gradients of the sweep in tests/parallel/test_certify.py the
largest relative difference is 1e-12: LIMIT is 1000 times that. Mistakes change a tensor by 1e-6 or
more, mostly by 1e-2.

cost: the twin's computation on every rank, and messages of one number a tensor, and an
    allreduce of the whole parameters and gradients a step
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import isfinite

from mpipar.data import Batch
from mpipar.errors import OptionError
from mpipar.parallel.comparison import Comparison, Found
from mpipar.parallel.training import Training

LIMIT = 1e-9


@dataclass(frozen=True)
class Certificate:
    """What was found, the same on all ranks.   str(certificate): a sentence

    difference: of a layout that is not equal, the first tensor that differs, and why
    steps, compared: how many were taken, and how many tensors compared on a rank
    largest, where: the largest relative difference of tensors that count as equal, and its tensor
    """

    difference: Found | None
    steps: int
    compared: int
    largest: float
    where: str

    @property
    def equal(self) -> bool:
        return self.difference is None

    def __str__(self) -> str:
        found = self.difference
        if found is None:
            where = f" in {self.where}" if self.largest else ""
            return f"equal (largest relative difference {self.largest:.1e}{where})"
        what = "the loss" if found.kind == "loss" else f"the {found.kind} of {found.name}"
        when = f" in step {found.step}" if found.step else ""
        ranks = f"rank{'s' * (len(found.ranks) > 1)} {', '.join(map(str, found.ranks))}"
        much = f", by {found.difference:.1e} of its largest number" if isfinite(found.difference) else ""
        return f"NOT EQUAL. First differs {what}{when}, on {ranks}{much}: {found.cause} ({found.why})"


def certify(
    build_layout: Callable[[], Training],
    build_serial: Callable[[], Training],
    batches: Callable[[int, int], Iterable[Batch]],
    *,
    steps: int = 3,
    limit: float = LIMIT,
) -> Certificate:
    """Compare a layout with its serial twin for some steps.   Collective: all ranks call it.

    build_layout: makes this rank's part;   build_serial: the whole, on a mesh of this rank alone
      (Mesh(comm.split(comm.rank))), from the same seed; both of float64
    batches(rank, size): what dp rank `rank` of `size` sees, at least `steps` batches
    errors: LayoutError where the two have parameters of other names; OptionError for too few batches
    """
    layout = build_layout()
    dp = layout.mesh["dp"]
    both = Comparison(layout, build_serial(), build_serial, limit)
    found = both.look_at_names() or both.look("initial value")
    mine, whole = iter(batches(dp.rank, dp.size)), iter(batches(0, 1))
    while found is None and both.step < steps:
        found = both.take_step(_next(mine, both.step), _next(whole, both.step))
    return Certificate(found, both.step, both.compared, both.largest, both.where)


def _next(batches: Iterator[Batch], step: int) -> Batch:
    batch = next(batches, None)
    if batch is None:
        raise OptionError(f"certify: there are only {step} batches; give more, or fewer steps")
    return batch
