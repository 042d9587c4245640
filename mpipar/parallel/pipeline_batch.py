"""A batch in a pipeline: its micro-batches, and losses of them that add up to the batch's mean."""

from typing import Any, NamedTuple

import numpy as np

from mpipar.arrays import on_device
from mpipar.errors import OptionError, ShapeError
from mpipar.schedule import micro_batch_size
from mpipar.tensor import Tensor
from mpipar.tensor.loss import weight_of

IGNORED = -100  # the label of places that count in no loss


class Part(NamedTuple):
    """rows: of the global batch, as nn.share_rows"""

    x: Any
    y: Any
    rows: tuple[int, int, int]


def parts_of_batch(x: Any, y: Any, rows: tuple[int, int, int] | None, count: int) -> list[Part]:
    """Equal parts of a batch.   y: or None

    errors: LayoutError where they do not divide it; ShapeError for rows that are not those of x
    """
    size = micro_batch_size(len(x), count)
    first, stop, total = rows or (0, len(x), len(x))
    if stop - first != len(x):
        raise ShapeError(
            f"step: {len(x)} rows of x, but rows={rows} are {stop - first}; give the loader's batch.rows"
        )
    parts = []
    for start in range(0, len(x), size):
        part = slice(start, start + size)
        place = (first + start, first + start + size, total)
        parts.append(Part(x[part], None if y is None else y[part], place))
    return parts


class Losses:
    """The last stage's part: the losses of micro-batches that add up to the batch's.

    With the model's criterion each is the sum over its labels, over all labels of the batch that
    count: micro-batches may have different numbers of those. With a loss of the user's, which is a
    mean over samples, each is 1/m of it.
    """

    def __init__(self, model: Any, loss: Any = None) -> None:
        self._loss, self._criterion = loss, getattr(model, "criterion", None)
        if loss is None and self._criterion is None:
            raise OptionError(
                f"{type(model).__name__} has no criterion; give the pipeline loss=, a function (output, y)"
            )

    def weight(self, labels: list[Any]) -> Any:
        """What each loss is multiplied by.   labels: of the micro-batches"""
        if self._loss is not None:
            return 1 / len(labels)
        none_left = f"no label of the batch differs from {IGNORED}, so its mean loss is of nothing; skip it"
        counted = sum((y != IGNORED).sum() for y in labels)
        return weight_of("the loss", counted, np.float64, none_left)

    def mean(self, output: Tensor, y: Any) -> Tensor:
        """The loss of all samples of y at once."""
        return self._loss(output, y) if self._loss is not None else self._criterion(output, y)

    def __call__(self, output: Tensor, y: Any, weight: Any) -> Tensor:
        loss = self._loss(output, y) if self._loss is not None else self._criterion(output, y, "sum")
        return loss * (weight.astype(loss.dtype) if on_device(weight) else weight)
