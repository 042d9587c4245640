"""What a rank has of the whole model: boxes of tensors under global names, to be saved and loaded.

    layers.0.linear1.weight                 the values, under PyTorch's name
    layers.0.linear1.weight/exp_avg         what the optimizer remembers of it, in the same shape

Whether a parameter is whole here, a part that tensor-parallel ranks share, or a range of numbers that
ZeRO cut off: each is one or more boxes of the whole, and nobody else has to know why.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from mpipar.errors import CheckpointError
from mpipar.nn import Dropout, Module, Parameter
from mpipar.parallel.boxes import Box, box_of, boxes_of_range, count, extents, inside, meet, whole_box
from mpipar.parallel.shards import global_slices


class Held(NamedTuple):
    """A box of the tensor `key` of this (global) shape.   view: -> the array of it, to read and write"""

    key: str
    shape: tuple[int, ...]
    box: Box
    dtype: Any
    view: Callable[[], Any]

    @property
    def bytes(self) -> int:
        return count(self.box) * self.dtype.itemsize

    @property
    def label(self) -> str:
        """What it is called in a file: key, or key[0:4,8:16]."""
        if self.box == whole_box(self.shape):
            return self.key
        return f"{self.key}[{','.join(f'{start}:{stop}' for start, stop in self.box)}]"


class State(NamedTuple):
    """An optimizer's memory of parameter i of `slots`: of all of it, or of its numbers start … stop-1."""

    name: str
    group: int
    slots: Any
    i: int
    parameter: Parameter
    start: int
    stop: int

    @property
    def step(self) -> int:
        return self.slots.steps[self.i]

    def held(self, buffer: str) -> Iterator[Held]:
        return _held(f"{self.name}/{buffer}", self.parameter, self.start, self.stop, self._view(buffer))

    def _view(self, buffer: str) -> Callable[[], Any]:
        start, stop = self.slots.offsets[self.i : self.i + 2]
        return lambda: self.slots.values[buffer][start:stop]


class Holdings:
    """What this rank has of `model` and `optimizer`.

    model: its part of it, for a pipeline the stages', with their names in the whole model
    optimizer: an Optimizer or a ZeRO over the model's parameters, or None
    names: every parameter's names, of a tied one several; the first is the one it is saved under
    values: of the parameters;   states: of the optimizer
    errors: CheckpointError for an optimizer of other parameters, or parameters in pieces without their ZeRO
    """

    def __init__(self, model: Module, optimizer: Any = None) -> None:
        self.model = model
        self.optimizer = getattr(optimizer, "optimizer", optimizer)  # of a ZeRO, the one that steps its parts
        self.names: dict[Parameter, list[str]] = {}
        for name, p in model.named_parameters(remove_duplicate=False):
            self.names.setdefault(p, []).append(name)
        parts = getattr(optimizer, "parts", None)  # this rank's, which may be none
        self.values = list(self._values(parts))
        self.states = [] if optimizer is None else list(self._states(parts or []))

    @property
    def all_names(self) -> list[str]:
        """Of the model; a tied parameter has several."""
        return [name for names in self.names.values() for name in names]

    @property
    def updated_names(self) -> list[str]:
        """Of what the optimizer updates."""
        return [name for state in self.states for name in self.names[state.parameter]]

    @property
    def dropouts(self) -> dict[str, Dropout]:
        return {name: m for name, m in self.model.named_modules() if isinstance(m, Dropout)}

    def _values(self, parts: list[Any] | None) -> Iterator[Held]:
        for p, names in self.names.items():
            if p.outline is None:
                yield from _held(names[0], p, 0, p.size, partial(getattr, p, "data"))
            elif parts is None:
                raise CheckpointError(
                    f"{names[0]} {p.shape} lies in pieces on several ranks; give the ZeRO that has them as "
                    "the optimizer"
                )
        for part in parts or []:
            if part.parameter.outline is not None:  # ZeRO's third stage: whole nowhere
                view = partial(getattr, part.own, "data")
                yield from _held(self._name(part.parameter), part.parameter, part.start, part.stop, view)

    def _states(self, parts: list[Any]) -> Iterator[State]:
        origin = {part.own: part for part in parts}
        groups = [id(group) for group in self.optimizer.param_groups]
        for slots in self.optimizer._slots:
            for i, q in enumerate(slots.parameters):
                part = origin.get(q)
                p, start, stop = (q, 0, q.size) if part is None else part[:3]
                yield State(self._name(p), groups.index(id(slots.group)), slots, i, p, start, stop)

    def _name(self, p: Parameter) -> str:
        if p not in self.names:
            raise CheckpointError(
                f"the optimizer has {p!r}, and the model has not; save and load it with its own model"
            )
        return self.names[p][0]


def _held(key: str, p: Parameter, start: int, stop: int, view: Callable[[], Any]) -> Iterator[Held]:
    """Numbers start … stop-1 of this rank's p as boxes of the whole.   view: -> all of p, or they alone"""
    shape, before = p.shape if p.shard is None else p.shard.shape, 0
    places = [(box_of(b, p.shape), box_of(a, shape)) for a, b in global_slices(p)]
    boxes = [whole_box(p.shape)] if (start, stop) == (0, p.size) else boxes_of_range(start, stop, p.shape)
    for box in boxes:
        for here, there in places:
            common = meet(box, here)
            if common is not None:
                zipped = zip(common, here, there, strict=True)
                globally = tuple((t[0] + c[0] - h[0], t[0] + c[1] - h[0]) for c, h, t in zipped)
                read = partial(_part, view, before, box, common)
                yield Held(key, shape, globally, p.dtype, read)
        before += count(box)


def _part(view: Callable[[], Any], before: int, box: Box, common: Box) -> Any:
    """Of an array of which `box`, laid flat, begins at `before`, the part `common`: a view."""
    array = view()
    if array.shape != extents(box):
        array = array[before : before + count(box)].reshape(extents(box))
    return array[(..., *inside(common, box))]
