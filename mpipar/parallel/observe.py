"""What modules return and get, by their names: a forward pass as it can be compared."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from mpipar.arrays import to_host
from mpipar.nn import Module
from mpipar.parallel.pipeline import Pipeline
from mpipar.parallel.stages import Stage
from mpipar.parallel.training import Training
from mpipar.tensor import Tensor

Key = tuple[str, int]  # a module's name, and which of its calls in one forward pass


class Observed:
    """The outputs of one step.

    outputs: of every call in the order of the forward pass; by the first row of each micro-batch
    inputs: (arguments, options) of every call, in the last micro-batch
    completed: names of parameters in the order in which backward completed their gradients
    """

    def __init__(self) -> None:
        self.outputs: dict[Key, dict[int, Tensor]] = {}
        self.inputs: dict[Key, tuple[tuple[Any, ...], dict[str, Any]]] = {}
        self.completed: list[str] = []
        self._calls: dict[str, int] = {}
        self._place = -1

    def output(self, key: Key) -> np.ndarray | None:
        """All micro-batches in the order of their rows, on the host; None where there was none."""
        parts = self.outputs.get(key)
        return None if not parts else np.concatenate([to_host(y.data) for _, y in sorted(parts.items())])

    def new_forward(self, place: int | None = None) -> None:
        """place: of a micro-batch that may come again, to be computed once more; else behind those before"""
        self._calls = {}
        self._place = self._place + 1 if place is None else place

    def add(self, name: str, inputs: tuple[tuple[Any, ...], dict[str, Any]], y: Any) -> None:
        key = name, self._calls.get(name, 0)
        self._calls[name] = key[1] + 1
        if isinstance(y, Tensor) and y.ndim:
            self.outputs.setdefault(key, {})[self._place] = y
            self.inputs[key] = inputs


class _ObservedStage:
    """A stage of a pipeline that tells when it computes which rows."""

    def __init__(self, stage: Stage, seen: Observed) -> None:
        self._stage, self._seen, self.begin_step = stage, seen, stage.begin_step

    def __call__(self, x: Tensor, rows: tuple[int, int, int]) -> Any:
        self._seen.new_forward(rows[0])
        return self._stage(x, rows)


@contextmanager
def observing(model: Module, pipeline: Pipeline | None = None) -> Iterator[Observed]:
    """Inside, every call of the model's modules is written down; the model itself has the name ""."""
    seen, undo = Observed(), []
    for name, module in model.named_modules():
        own = vars(module).get("forward")  # ZeRO's third stage has put one there
        module.forward = _written_down(seen, name, module.forward)
        undo.append(lambda module=module, own=own: _restore(module, "forward", own))
    undo.append(_told_of_forwards(seen, model) if pipeline is None else _told_of_rows(seen, pipeline))
    for name, p in model.named_parameters():
        undo.append(p.register_post_accumulate_grad_hook(lambda _, name=name: seen.completed.append(name)))
    try:
        yield seen
    finally:
        for action in undo:
            action()


@contextmanager
def zeros_for_missing_gradients(training: Training) -> Iterator[None]:
    """Inside, a parameter that the loss does not use is no error: what should have used it tells more."""
    replica = training.replica
    unused, replica.unused = replica.unused, "zero"
    try:
        yield
    finally:
        replica.unused = unused


def update(training: Training, gradients: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """training.update().   returns: gradients(), called where the optimizer steps; {} where it never did"""
    optimizer, seen = training.optimizer, {}
    step, own = optimizer.step, vars(optimizer).get("step")

    def looked_at() -> None:
        seen.update(gradients())
        step()

    optimizer.step = looked_at
    try:
        training.update()
    finally:
        _restore(optimizer, "step", own)
    return seen


def _restore(of: Any, method: str, own: Any) -> None:
    """own: what the object itself had in place of its class's method"""
    vars(of).pop(method)
    if own is not None:
        setattr(of, method, own)


def _told_of_forwards(seen: Observed, model: Any) -> Callable[[], Any]:
    """returns: what ends it"""
    loss = model.loss

    def counted(*arguments: Any, **options: Any) -> Any:
        seen.new_forward()
        return loss(*arguments, **options)

    model.loss = counted
    return lambda: vars(model).pop("loss")


def _told_of_rows(seen: Observed, pipeline: Pipeline) -> Callable[[], Any]:
    """returns: what ends it"""
    stages = dict(pipeline.stages)
    pipeline.stages.update({k: _ObservedStage(stage, seen) for k, stage in stages.items()})
    return lambda: pipeline.stages.update(stages)


def _written_down(seen: Observed, name: str, forward: Any) -> Any:
    def call(*arguments: Any, **options: Any) -> Any:
        y = forward(*arguments, **options)
        seen.add(name, (arguments, options), y)
        return y

    return call
