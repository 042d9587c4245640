"""A tensor that is learned: drawn when its name is known, at home in a flat buffer."""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from mpipar.arrays import xp
from mpipar.errors import GraphError, ShapeError
from mpipar.nn.init import Init
from mpipar.nn.shard import Shard
from mpipar.tensor import Tensor

_slot = Tensor.data  # the slot that the property below stands before


class Parameter(Tensor):
    """A leaf with requires_grad=True.

    source: an array, or an Init whose values `draw` makes later; until then `data` raises
    shard: which part of the parameter of this name it is, where ranks share that; None: all of it
    place: (Flat, start, stop) once `flatten` gave it a place there: data and grad are views
    outline: an array of its shape and dtype without memory, once `lend` said where the values are
    Assigning `data` to a parameter that has a place, or was lent an array, writes there.
    errors: GraphError for the values of a parameter that was not drawn yet, or has none on this rank now
    """

    __slots__ = ("init", "outline", "place", "shard")

    def __init__(
        self,
        source: Any,
        *,
        requires_grad: bool = True,
        name: str | None = None,
        shard: Shard | None = None,
    ) -> None:
        self.place, self.outline, self.shard = None, None, shard
        self.init = source if isinstance(source, Init) else None
        if self.init is not None and shard is not None:
            self.init = replace(self.init, part=shard.part)
        if self.init is None:
            super().__init__(source, requires_grad=requires_grad, name=name)
            return
        super().__init__(xp.empty(0, self.init.dtype), requires_grad=requires_grad, name=name)
        _slot.__set__(self, None)

    def draw(self, seed: int, name: str) -> None:
        """Fill in the initial values of the stream (seed, name); `name` is kept.

        errors: GraphError for a parameter made from an array: it has no recipe
        """
        if self.init is None:
            raise GraphError(f"{name} {self.shape} was made from an array and cannot be drawn anew")
        self.name = name
        self.data = self.init.draw(seed, name)

    @property
    def drawn(self) -> bool:
        """False while there are no values yet."""
        return _slot.__get__(self) is not None

    @property
    def data(self) -> Any:
        value = _slot.__get__(self)
        if value is None and self.outline is not None:
            raise GraphError(
                f"parameter {self.name or '(no name)'} {self.shape} lies in pieces on several ranks, and is "
                "whole only while its layer computes; read or write it inside `with zero.gathered():`"
            )
        if value is None:
            raise GraphError(
                f"parameter {self.name or '(no name yet)'} {self.shape} has no values; call "
                "initialize(seed) on the finished model, or give seed= to the layer if it stands alone"
            )
        return value

    @data.setter
    def data(self, value: Any) -> None:
        if self.place is None and self.outline is None:
            _slot.__set__(self, value)
            return
        view = self.data
        if value is view:  # p.data -= ... has written already
            return
        if value.shape != view.shape:
            raise ShapeError(
                f"{self.name or 'parameter'} {view.shape} lies in a flat buffer and cannot take the shape "
                f"{value.shape}; make a new Parameter"
            )
        view[...] = value

    def move(self, flat: Any, start: int, view: Any, grad: Any) -> None:
        """Live in `flat` from `start` on: values and gradient are copied into the two views.

        grad: None: the gradient stays where it is, and later ones are arrays of their own
        """
        view[...] = self.data
        if grad is not None and self.grad is not None:
            grad[...] = self.grad
            self.grad = grad
        _slot.__set__(self, view)
        self.grad_buffer = grad
        self.place = (flat, start, start + view.size)

    def lend(self, view: Any) -> None:
        """The values are those in `view`, which is not copied; None: there are none on this rank now.

        Gives its place and its gradient buffer up; shape and dtype stay.
        """
        if self.outline is None:
            self.outline = np.broadcast_to(np.zeros((), self.dtype), self.shape)
        self.place = self.grad_buffer = None
        _slot.__set__(self, view)

    @property
    def shape(self) -> tuple[int, ...]:
        if self.outline is not None:
            return self.outline.shape
        if self.drawn:
            return self.data.shape
        return self.init.shape if self.init.part is None else _part_shape(self.init)

    @property
    def dtype(self) -> np.dtype:
        if self.outline is not None:
            return self.outline.dtype
        return self.data.dtype if self.drawn else np.dtype(self.init.dtype)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Parameter":
        """The same values in memory of its own, without gradient, hooks or place."""
        fresh = Parameter(
            self.data.copy() if self.drawn or self.outline is not None else self.init,
            requires_grad=self.requires_grad,
            name=self.name,
            shard=self.shard,
        )
        fresh.init = self.init
        memo[id(self)] = fresh
        return fresh


def _part_shape(init: Init) -> tuple[int, ...]:
    # strides of zero: the shape of an index, without the memory
    return np.broadcast_to(np.False_, init.shape)[init.part].shape
