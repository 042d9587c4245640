"""Losses: one number from predictions and targets.

reduction: "mean" over what was predicted, or "sum", which micro-batches and ranks can add up.
"""

from typing import Any

from mpipar.arrays import kernel_on_device, on_device, xp
from mpipar.errors import LabelError, OptionError, ShapeError
from mpipar.tensor import kernels
from mpipar.tensor.broadcast import operands
from mpipar.tensor.checks import check_ids, check_tensors, constant, raise_later
from mpipar.tensor.engine import Tensor


def cross_entropy(
    logits: Tensor, labels: Any, reduction: str = "mean", ignore_index: int | None = -100
) -> Tensor:
    """L = Σᵣ -ln softmax(xᵣ)[tᵣ] / n;   dxᵣ = (softmax(xᵣ) - e_tᵣ) dL / n.

    r runs over the rows whose label t is not ignore_index; n is their number, or 1 for "sum".
    shapes: logits (…, classes), labels (…,) integers in an array or Tensor -> L ()
    cost: a few passes over the logits, one copy of them kept
    errors: LabelError for the first label out of range, or when nothing is left to average (on a
      device both come late, see arrays/deferred.py; the mean of nothing is nan until then);
      ShapeError, DTypeError, OptionError
    """
    target, kept, weight = check_labels("cross_entropy", logits, labels, reduction, ignore_index)
    p, losses = _cross_entropy(logits.data.reshape(target.size, logits.shape[-1]), target, kept)

    def vjp(dy):
        return (_cross_entropy_backward(p, target, kept, dy * weight).reshape(logits.shape),)

    return Tensor(losses.sum() * weight, (logits,), vjp)


@kernel_on_device(kernels.cross_entropy)
def _cross_entropy(x, target, kept):
    """softmax(xᵣ) and -ln softmax(xᵣ)[tᵣ], 0 in rows that are not kept; kept: None for all."""
    target = target if kept is None else xp.where(kept, target, 0)
    p = x - x.max(axis=1, keepdims=True)
    picked = p[xp.arange(target.size), target]
    xp.exp(p, out=p)
    total = p.sum(axis=1, keepdims=True)
    p /= total
    losses = xp.log(total[:, 0]) - picked
    # not times 0: a row that is not kept may hold infinities
    return p, losses if kept is None else xp.where(kept, losses, 0)


@kernel_on_device(kernels.cross_entropy_backward)
def _cross_entropy_backward(p, target, kept, dy):
    target = target if kept is None else xp.where(kept, target, 0)
    dx = p.copy()
    dx[xp.arange(target.size), target] -= 1  # no place twice: one label a row
    dx *= dy
    if kept is not None:
        dx[~kept] = 0  # not times 0, as above
    return dx


def mse(x: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """L = Σ (x - t)² / n;   dx = 2 (x - t) dL / n,   dt = -dx.   n: the values of x, or 1 for "sum".

    shapes: equal, for (n, 1) against (n,) would broadcast to n² differences -> L ()
    errors: ShapeError, DTypeError, OptionError
    """
    x, target = operands("mse", x, target, kinds="f")
    if x.shape != target.shape or x.data.size == 0:
        raise ShapeError(f"mse: shapes {x.shape} and {target.shape}; make them equal, and not empty")
    difference = x.data - target.data
    weight = 1 / difference.size if check_reduction("mse", reduction) else 1.0

    def vjp(dy):
        dx = difference * (dy * (2 * weight))
        return dx, -dx if target.requires_grad else None

    return Tensor((difference * difference).sum() * weight, (x, target), vjp)


def check_reduction(op: str, reduction: str) -> bool:
    """Whether it is the mean, not the sum."""
    if reduction not in ("mean", "sum"):
        raise OptionError(f'{op}: reduction={reduction!r}; choose "mean" or "sum"')
    return reduction == "mean"


def check_labels(
    op: str, logits: Tensor, labels: Any, reduction: str, ignore_index: int | None, ranks: int = 1
) -> tuple[Any, Any, Any]:
    """The labels in one dim, which of them count (None for all), and what each of these counts in the loss.

    ranks: how many share the last dim of the logits, in equal parts
    errors: as cross_entropy
    """
    check_tensors(op, logits)
    labels = constant(op, "the labels", labels)
    if logits.ndim == 0 or labels.shape != logits.shape[:-1] or logits.shape[-1] == 0:
        raise ShapeError(
            f"{op}: logits {logits.shape} and labels {labels.shape} do not fit; "
            "labels have the logits' shape without the last dim, the classes"
        )
    classes = logits.shape[-1] * ranks
    kept = check_ids(op, "label", labels, 0, classes, "classes", ignore=ignore_index)
    weight = 1.0
    if check_reduction(op, reduction):
        none_left = (
            f"{op}: the mean of no rows: none of {labels.size} labels differs from "
            f'ignore_index {ignore_index}; use reduction="sum"'
        )
        weight = weight_of(op, labels.size if kept is None else kept.sum(), logits.dtype, none_left)
    return labels.reshape(-1), None if kept is None else kept.reshape(-1), weight


def weight_of(op: str, count: Any, dtype: Any, none_left: str) -> Any:
    """1/count; where a device counted it stays there, an array () of dtype.

    errors: LabelError with none_left where the count is 0, late if it is on a device
    """
    if on_device(count):
        raise_later(op, count == 0, count, lambda _: none_left)
        return (1 / count).astype(dtype)
    if count == 0:
        raise LabelError(none_left)
    return 1 / int(count)
