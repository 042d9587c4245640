"""What modules return and get, by their names: a forward pass as it can be compared."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from mpipar.arrays import to_host
from mpipar.nn import Module
from mpipar.tensor import Tensor

Key = tuple[str, int]  # a module's name, and which of its calls in one forward pass


class Observed:
    """The outputs of one step.

    outputs: of every call in the order of the forward pass; a list with one tensor a micro-batch
    inputs: (arguments, options) of every call, in the last micro-batch
    completed: names of parameters in the order in which backward completed their gradients
    """

    def __init__(self) -> None:
        self.outputs: dict[Key, list[Tensor]] = {}
        self.inputs: dict[Key, tuple[tuple[Any, ...], dict[str, Any]]] = {}
        self.completed: list[str] = []
        self._calls: dict[str, int] = {}

    def output(self, key: Key) -> np.ndarray | None:
        """All micro-batches one after the other, on the host; None where there was none."""
        parts = self.outputs.get(key)
        return None if not parts else np.concatenate([to_host(part.data) for part in parts])

    def new_forward(self) -> None:
        self._calls = {}

    def add(self, name: str, inputs: tuple[tuple[Any, ...], dict[str, Any]], y: Any) -> None:
        key = name, self._calls.get(name, 0)
        self._calls[name] = key[1] + 1
        if isinstance(y, Tensor) and y.ndim:
            self.outputs.setdefault(key, []).append(y)
            self.inputs[key] = inputs


@contextmanager
def observing(model: Module) -> Iterator[Observed]:
    """Inside, every call of the model's modules is written down; the model itself has the name ""."""
    seen, undo = Observed(), []
    for name, module in model.named_modules():
        module.forward = _written_down(seen, name, module.forward)
        undo.append(lambda module=module: vars(module).pop("forward"))
    loss = model.loss

    def counted(*arguments: Any, **options: Any) -> Any:
        seen.new_forward()
        return loss(*arguments, **options)

    model.loss = counted
    undo.append(lambda: vars(model).pop("loss"))
    for name, p in model.named_parameters():
        undo.append(p.register_post_accumulate_grad_hook(lambda _, name=name: seen.completed.append(name)))
    try:
        yield seen
    finally:
        for action in undo:
            action()


def _written_down(seen: Observed, name: str, forward: Any) -> Any:
    def call(*arguments: Any, **options: Any) -> Any:
        y = forward(*arguments, **options)
        seen.add(name, (arguments, options), y)
        return y

    return call
