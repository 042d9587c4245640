"""ZeRO's third stage: a layer's parameters are whole on a rank only while that layer computes
(Rajbhandari et al., SC 2020, section 5.3).

    forward     gather 1 · layer 1 · gather 2 · layer 2 · …
    backward    … · gather 2 · layer 2 · sum 2 · gather 1 · layer 1 · sum 1      sum: a reduce-scatter

Layers take turns in one room, as large as the largest of them. Each is gathered into the same place
for backward as for forward, so that what an operation keeps of a weight, for example the view that
is its slice, is valid again. Backward hears operations in the reverse of their order; so an operation
that does nothing, put behind the layer, is heard first and gathers.

Parameters that are in no layer, or in several (tied embeddings), belong to the whole model: they are
gathered around all layers, and have a room of their own.
"""

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from mpipar.arrays import empty_like, overlap, xp
from mpipar.comm import Communicator
from mpipar.errors import LayoutError
from mpipar.nn import Module, Parameter
from mpipar.parallel.layers import belongings, outermost_members
from mpipar.parallel.units import Unit
from mpipar.tensor import Tensor


class Shared(NamedTuple):
    """A module whose parameters, by dtype, are gathered into `rooms`, by dtype, while it computes."""

    module: Module
    units: list[Unit]
    rooms: dict[Any, Any]


class JustInTime:
    """Gathers the layers of `model` around their forward and backward; changes the modules' `forward`.

    modules: the layers, by default the members of the outermost ModuleLists and Sequentials
    rooms: the memory in which layers take turns;   passes: how many layers have computed forward
    cost: two allgathers of every parameter a step
    errors: LayoutError for a layer inside another, or one whose result is a view of its parameters
    """

    def __init__(
        self, model: Module, comm: Communicator, modules: Sequence[Module] | None, algorithm: str
    ) -> None:
        self.comm, self.algorithm, self.passes, self.held = comm, algorithm, 0, False
        modules = outermost_members(model) if modules is None else list(modules)
        around, inner = belongings(model, modules)
        room: dict[Any, Any] = {}
        self._inner = [
            Shared(m, _by_dtype(own, comm), room) for m, own in zip(modules, inner, strict=True) if own
        ]
        self._around = [Shared(model, _by_dtype(around, comm), {})] if around else []
        self._present: dict[int, Shared] = {}  # room -> whose turn it is
        for layer in (*self._around, *self._inner):
            self._wrap(layer)

    @property
    def units(self) -> list[Unit]:
        """In the order in which backward completes their gradients."""
        return [unit for layer in (*reversed(self._inner), *self._around) for unit in layer.units]

    @property
    def rooms(self) -> list[Any]:
        by_id = {id(layer.rooms): layer.rooms for layer in (*self._around, *self._inner)}
        return [room for rooms in by_id.values() for room in rooms.values()]

    def own(self, names: dict[int, str]) -> None:
        """Keep this rank's piece of each row, and nothing else of the parameters."""
        for layer in (*self._around, *self._inner):
            for unit in layer.units:
                row = xp.concatenate([p.data.reshape(-1) for p in unit.parameters])
                data = row[unit.start : unit.stop].copy()
                unit.own(data, xp.zeros_like(data), names)
                unit.lend(None)
                room = layer.rooms.get(row.dtype)
                if room is None or len(room) < len(row):
                    layer.rooms[row.dtype] = row  # its memory, not its numbers

    def gather(self, layer: Shared) -> None:
        """Make the layer's parameters whole, in the place of the layer before.   cost: an allgather"""
        if self.held:
            return
        if id(layer.rooms) in self._present:
            self.release(self._present[id(layer.rooms)])
        self._present[id(layer.rooms)] = layer
        with self.comm.scope("gather parameters"):
            for unit in layer.units:
                row = layer.rooms[unit.data.dtype][: len(unit)]
                unit.lend(self.comm.allgather(unit.data, self.algorithm, out=row))

    def release(self, layer: Shared) -> None:
        """The layer's parameters have no values until they are gathered again."""
        if self.held:
            return
        for unit in layer.units:
            unit.lend(None)
        self._present.pop(id(layer.rooms), None)

    def release_all(self) -> None:
        """No parameter that is in pieces has values."""
        for layer in list(self._present.values()):
            self.release(layer)

    def take_part(self, leave: Callable[[], None]) -> None:
        """The messages of forward and backward, for a rank without samples.   leave: sums the next unit"""
        for layer in (*self._around, *self._inner, *self._around):
            self.gather(layer)
        for layer in reversed(self._inner):
            self.gather(layer)
            for _ in layer.units:
                leave()

    @contextmanager
    def gathered(self):
        """Inside, all parameters are whole on all ranks; what all ranks write into them alike is kept."""
        if self.held:
            yield
            return
        self.release_all()
        rows = []
        for unit in self.units:
            row = empty_like(unit.data, (len(unit),))
            rows.append(self.comm.allgather(unit.data, self.algorithm, out=row))
            unit.lend(row)
        self.held = True
        try:
            yield
        finally:
            self.held = False
            for unit, row in zip(self.units, rows, strict=True):
                unit.data[...] = row[unit.start : unit.stop]
                unit.lend(None)

    def _wrap(self, layer: Shared) -> None:
        forward = layer.module.forward

        def gather_and_forward(*inputs: Any, **options: Any) -> Tensor:
            self.passes += 1
            self.gather(layer)
            y = forward(*inputs, **options)
            _check_result(layer, y)
            self.release(layer)
            return Tensor(y.data, (y,), gather_again)

        def gather_again(dy: Any) -> tuple[Any]:
            self.gather(layer)
            return (dy,)

        layer.module.forward = gather_and_forward


def _by_dtype(parameters: list[Parameter], comm: Communicator) -> list[Unit]:
    dtypes = dict.fromkeys(p.dtype for p in parameters)
    return [Unit([p for p in parameters if p.dtype == dtype], comm) for dtype in dtypes]


def _check_result(layer: Shared, y: Any) -> None:
    what = type(layer.module).__name__
    if not isinstance(y, Tensor):
        raise LayoutError(
            f"ZeRO stage 3: {what}.forward returns a {type(y).__name__}; it must return a Tensor, "
            "before whose backward the parameters can be gathered"
        )
    if any(overlap(y.data, room) for room in layer.rooms.values()):
        raise LayoutError(
            f"ZeRO stage 3: {what}.forward returns a view of its parameters, which the next layer's "
            "replace; return a copy"
        )
