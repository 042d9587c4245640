"""Backward in two parts (Qi et al., Zero Bubble Pipeline Parallelism, ICLR 2024).

Of y = f(x, w), dy gives dx, for which others may wait, and dw, which only the optimizer needs:

    later = backward_input(y, x, dy)     x.grad is there; no weight's gradient was computed
    …                                    send x.grad, do something else
    later()                              the weights' gradients, from each operation's dy

A tensor of the graph lies on the way from x to y, or aside: parameters, and what is computed from
them alone. A vjp leaves out parents that ask for no gradient. So in the first part those aside ask
for none, and in the second those on the way.

memory: until `later`, what the vjps of operations with a parent aside keep, and their dy
cost: together that of one backward, since each of our vjps computes its gradients apart
"""

from collections.abc import Callable, Iterable
from contextlib import contextmanager
from typing import Any, NamedTuple

from mpipar.arrays import xp
from mpipar.errors import GraphError
from mpipar.tensor.engine import Tensor, Vjp


class Kept(NamedTuple):
    """An operation with parents aside.   aside: which;   dy: the gradient of its result"""

    order: int
    parents: tuple[Tensor, ...]
    aside: list[bool]
    vjp: Vjp
    dy: Any


def backward_input(y: Tensor, x: Tensor, dy: Any = None) -> Callable[[], None]:
    """Add dL/dx to x.grad; -> a function, to be called once, that does so for all other leaves.

    x: a leaf, or a result on which y depends, or y itself; what x was computed from is heard later
    dy: array shaped like y, dL/dy; may be left out for one value, where it is 1
    errors: GraphError where y does not depend on x; as Tensor.backward
    """
    graph = _in_order(y)
    on_way = {id(x)}
    for t in graph:
        if any(id(p) in on_way for p in t.parents):
            on_way.add(id(t))
    if id(y) not in on_way:
        raise GraphError(
            f"backward_input: {y} does not depend on {x}; give a tensor that it was computed from"
        )
    kept: list[Kept] = []
    for t in graph:
        aside = [p.requires_grad and id(p) not in on_way for p in t.parents]
        if id(t) in on_way and t is not x and any(aside):
            t.vjp = _keeping(t, aside, kept)
    parents, vjp = x.parents, x.vjp
    x.parents, x.vjp = (), None  # a leaf from now on: backward ends here
    with _asking_for_none(t for t in graph if id(t) not in on_way):
        y.backward(dy)
    if vjp is not None:
        kept.append(Kept(x.order, parents, [p.requires_grad for p in parents], vjp, x.grad))
    return lambda: _backward_aside(kept)


def _in_order(y: Tensor) -> list[Tensor]:
    """All tensors of y's graph that ask for a gradient, each behind those it was computed from."""
    found, to_visit = {id(y): y}, [y]
    while to_visit:
        for parent in to_visit.pop().parents:
            if parent.requires_grad and id(parent) not in found:
                found[id(parent)] = parent
                to_visit.append(parent)
    return sorted(found.values(), key=lambda t: t.order)


def _keeping(t: Tensor, aside: list[bool], kept: list[Kept]) -> Vjp:
    order, parents, vjp = t.order, t.parents, t.vjp

    def keep(dy):
        kept.append(Kept(order, parents, aside, vjp, dy))
        return vjp(dy)

    return keep


def _backward_aside(kept: list[Kept]) -> None:
    """One backward through all that lies aside, from a node that stands for each kept operation."""
    if kept:
        dys = tuple(one.dy for one in kept)
        Tensor(xp.zeros(()), tuple(map(_stand_in, kept)), lambda _: dys).backward()


def _stand_in(kept: Kept) -> Tensor:
    order, parents, aside, vjp, dy = kept

    def vjp_aside(dy):
        with _asking_for_none(p for p, is_aside in zip(parents, aside, strict=True) if not is_aside):
            parts = vjp(dy)
        return tuple(part for part, is_aside in zip(parts, aside, strict=True) if is_aside)

    t = Tensor(dy, tuple(p for p, is_aside in zip(parents, aside, strict=True) if is_aside), vjp_aside)
    t.order = order
    return t


@contextmanager
def _asking_for_none(tensors: Iterable[Tensor]):
    """Inside, these have requires_grad=False."""
    asking = [t for t in tensors if t.requires_grad]
    for t in asking:
        t.requires_grad = False
    try:
        yield
    finally:
        for t in asking:
            t.requires_grad = True
