"""Which parameters can be updated in one sweep.

Neighbours in a flat buffer whose gradients lie in it too are one contiguous range of numbers.
With every gradient there, a whole model is one run; a parameter without a gradient, or with a
step count of its own, parts it in two.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from mpipar.arrays import xp
from mpipar.nn.flat import beside
from mpipar.tensor import Tensor


class Run(NamedTuple):
    """Parameters first..last-1 of a list, as one range: x and g are 1-D arrays of equal length."""

    first: int
    last: int
    x: Any
    g: Any


def runs(parameters: Sequence[Tensor], counts: Sequence[int] | None = None) -> Iterator[Run]:
    """The longest runs of parameters that have a gradient, and equal counts if these are given.

    cost: a few look-ups a parameter; x and g are views
    """
    first = 0
    while first < len(parameters):
        last = first + 1
        if parameters[first].grad is not None:
            while last < len(parameters) and _continues(parameters, counts, last):
                last += 1
            yield Run(first, last, *_ranges(parameters[first:last]))
        first = last


def _continues(parameters: Sequence[Tensor], counts: Sequence[int] | None, i: int) -> bool:
    before, here = parameters[i - 1], parameters[i]
    if counts is not None and counts[i - 1] != counts[i]:
        return False
    if not (_in_flat(before) and _in_flat(here)):
        return False
    return beside(before, here)


def _in_flat(p: Tensor) -> bool:
    return getattr(p, "place", None) is not None and p.grad is not None and p.grad is p.grad_buffer


def _ranges(parameters: Sequence[Tensor]) -> tuple[Any, Any]:
    p = parameters[0]
    if len(parameters) == 1:
        if not p.grad.flags.c_contiguous:  # of a copy of it, a change would be lost
            p.grad = xp.ascontiguousarray(p.grad)
        return p.data.reshape(-1), p.grad.reshape(-1)
    flat, start, _ = p.place
    part = slice(start, parameters[-1].place[2])
    return flat.data[part], flat.grad[part]
