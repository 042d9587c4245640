"""A row of parameters, cut among ranks: each owns a piece, wherever a parameter begins or ends.

    row     [ θ₁ ............ | θ₂ ..... | θ₃ ......... ]
    owner   [ rank 0 ...... | rank 1 ...... | rank 2 .. ]       as numpy.array_split cuts

Rank 1 owns the end of θ₁, all of θ₂ and the beginning of θ₃. Optimizers work element by element,
so each rank may step its own parts alone, and nothing changes by a bit. The blocks are those of
reduce_scatter and allgather: the one gives a rank the sum of its piece, the other gives the row back.
"""

from collections.abc import Iterable
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from mpipar.arrays import xp
from mpipar.comm import Communicator
from mpipar.comm.collectives import part_lengths
from mpipar.errors import OptionError
from mpipar.nn import Parameter, move_into


class Part(NamedTuple):
    """Elements start..stop-1 of `parameter`, flattened, as a Parameter of one dim that an optimizer steps."""

    parameter: Parameter
    start: int
    stop: int
    own: Parameter


class Unit:
    """Parameters of one dtype in a row, whose gradients travel together, and so do their values.

    start, stop: this rank's piece of the row;   data, grad: its numbers and their gradient, see `own`
    parts: the piece, parameter by parameter
    row, whole_grad: all numbers and all gradients, where this rank keeps them side by side
    summed: whether `grad` holds this step's gradient
    """

    def __init__(self, parameters: list[Parameter], comm: Communicator) -> None:
        self.parameters = parameters
        self.offsets = [0, *accumulate(p.size for p in parameters)]
        lengths = part_lengths(len(self), comm.size)
        self.start = sum(lengths[: comm.rank])
        self.stop = self.start + lengths[comm.rank]
        self.parts: list[Part] = []
        self.row: Any = None
        self.whole_grad: Any = None
        self.summed = False

    def __len__(self) -> int:
        """How many numbers are in the row."""
        return self.offsets[-1]

    def own(self, data: Any, grad: Any, names: dict[int, str]) -> None:
        """Keep the piece in these two arrays of stop - start numbers.   names: of the parameters, by id"""
        self.data, self.grad = data, grad
        for p, (first, last) in zip(self.parameters, pairwise(self.offsets), strict=True):
            start, stop = max(first, self.start), min(last, self.stop)
            if start < stop:
                values = data[start - self.start : stop - self.start]
                own = Parameter(values, name=names[id(p)], shard=p.shard)
                self.parts.append(Part(p, start - first, stop - first, own))
        move_into([part.own for part in self.parts], data, grad)

    def gradients(self, zero: bool) -> Any:
        """All gradients of the row, which the parameters give up; zeros where there are none.

        zero: all are, whatever they were
        returns: the array in which backward has written them side by side, else a new one
        """
        parameters, row = self.parameters, self.whole_grad
        if row is None or zero or any(p.grad is not p.grad_buffer for p in parameters):
            parts = [
                xp.zeros(p.size, p.dtype) if zero or p.grad is None else p.grad.reshape(-1)
                for p in parameters
            ]
            row = xp.concatenate(parts)
        for p in parameters:
            p.grad = None
        return row

    def add(self, grad: Any) -> None:
        """The piece's gradient: what came earlier in the step, and this; the first time this is `grad`."""
        assert self.summed or grad is self.grad
        if self.summed:
            self.grad += grad
        self.summed = True
        for part in self.parts:
            part.own.grad = part.own.grad_buffer

    def lend(self, row: Any) -> None:
        """Let the parameters have their values in `row`; None: nowhere on this rank."""
        for p, (start, stop) in zip(self.parameters, pairwise(self.offsets), strict=True):
            p.lend(None if row is None else row[start:stop].reshape(p.shape))


def own_in_flats(units: list[Unit], names: dict[int, str], with_gradients: bool) -> None:
    """Of parameters that lie in Flats, unit by unit, own views.

    with_gradients: of the gradients, too; else the gradients' side of the Flats is given up, and each
      unit has an array for its piece
    """
    flats = {id(p.place[0]): p.place[0] for unit in units for p in unit.parameters}
    for flat in flats.values() if not with_gradients else ():
        move_into(flat.parameters, xp.empty_like(flat.data))
    for unit in units:
        flat, first, _ = unit.parameters[0].place
        whole = slice(first, first + len(unit))
        unit.row, unit.whole_grad = flat.data[whole], flat.grad[whole] if with_gradients else None
        piece = slice(first + unit.start, first + unit.stop)
        data = flat.data[piece]
        unit.own(data, flat.grad[piece] if with_gradients else xp.zeros_like(data), names)


def owned_groups(parameters: Iterable[Any], units: list[Unit]) -> list[dict[str, Any]]:
    """An optimizer's groups, with this rank's part of each parameter; a group may end up empty.

    errors: OptionError for a parameter of another model
    """
    given = list(parameters)
    groups = given if given and isinstance(given[0], dict) else [{"params": given}]
    own = {part.parameter: part.own for unit in units for part in unit.parts}
    known = {p for unit in units for p in unit.parameters}
    found = []
    for group in groups:
        trained = [p for p in dict.fromkeys(group["params"]) if p.requires_grad]
        for p in trained:
            if p not in known:
                raise OptionError(f"ZeRO: {p!r} is no parameter of the model; pass the model's own")
        found.append({**group, "params": [own[p] for p in trained if p in own]})
    return found
