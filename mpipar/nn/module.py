"""A module: parameters, modules inside it, and `forward`.

Attributes that are Parameters or Modules are found by looking; their names, joined by dots,
are the names of PyTorch's `state_dict`. Initial values wait for these names: a layer keeps
recipes, and `initialize(seed)` on the finished model draws each from (seed, dotted name).

    class Net(Module):
        def __init__(self, seed):
            self.first, self.last = Linear(64, 32), Linear(32, 10)
            self.initialize(seed)                    # the last line of a model's __init__
        def forward(self, x):
            return self.last(relu(self.first(x)))
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from mpipar.errors import OptionError
from mpipar.nn import state
from mpipar.nn.parameter import Parameter
from mpipar.nn.scope import forward_recorded
from mpipar.trace import recorder_here


class Module:
    """Base of layers and models: write `__init__` and `forward`.

    training: True after train(), False after eval()
    path: the dotted name below the model on which `initialize` was called
    trace_name: its name in scopes, None before its first call in one; see scope.py
    """

    training = True
    path = ""
    trace_name: str | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        recorder = recorder_here()
        if recorder is None:
            return self.forward(*args, **kwargs)
        return forward_recorded(self, recorder, args, kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no forward; write one")

    def __setattr__(self, name: str, value: Any) -> None:
        if type(value) in (list, tuple) and not name.startswith("_"):
            for x in value:
                if isinstance(x, (Module, Parameter)):
                    raise OptionError(
                        f"{type(self).__name__}.{name} is a {type(value).__name__} of modules or parameters, "
                        f"which would not be found in it; use ModuleList, or a name that starts with _"
                    )
        super().__setattr__(name, value)

    # ---- finding
    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """(dotted name, module), this one first; a module in two places once."""
        seen: set[int] = set()
        for name, module in _walk(self, prefix):
            if id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def named_parameters(
        self, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """(dotted name, parameter); a tied one once, under its first name, unless asked for all."""
        seen: set[int] = set()
        for path, module in _walk(self, prefix):
            for name, value in vars(module).items():
                if not isinstance(value, Parameter) or (remove_duplicate and id(value) in seen):
                    continue
                seen.add(id(value))
                yield _join(path, name), value

    def parameters(self) -> Iterator[Parameter]:
        """Every parameter once."""
        return (p for _, p in self.named_parameters())

    def modules(self) -> Iterator["Module"]:
        """Every module once, this one first."""
        return (m for _, m in self.named_modules())

    def num_parameters(self) -> int:
        """How many numbers, tied ones counted once."""
        return sum(p.size for p in self.parameters())

    # ---- changing
    def initialize(self, seed: int | None, *, prefix: str = "", again: bool = False) -> "Module":
        """Draw every parameter that has no values yet, each by its name from here on.

        seed: None does nothing (the model around this module will do it)
        prefix: set before all names, where this module is a part of a larger model
        again: draw those that have values, too
        """
        if seed is None:
            return self
        for path, module in self.named_modules(prefix):
            module.path = path
            module.seeded(seed, again)
        for name, p in self.named_parameters(prefix):
            p.name = name
            if again or not p.drawn:
                p.draw(seed, name)
        return self

    def seeded(self, seed: int, again: bool) -> None:
        """Called by initialize when `path` is set; a module that draws numbers keeps the seed."""

    def train(self, mode: bool = True) -> "Module":
        """Behave as in training (dropout on), or not."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> "Module":
        """train(False)"""
        return self.train(False)

    def requires_grad_(self, flag: bool = True) -> "Module":
        """Train all parameters, or freeze them."""
        for p in self.parameters():
            p.requires_grad = flag
        return self

    def zero_grad(self) -> None:
        """Forget the gradients; the next backward writes them anew.   cost: no memory is touched."""
        for p in self.parameters():
            p.grad = None

    # ---- saving: see state.py
    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all values on the host by name, a tied one under each of its names."""
        return state.state_dict(self)

    def load_state_dict(self, values: dict[str, Any], strict: bool = True) -> state.Difference:
        """Copy values in by name; strict: every name must be there and no other."""
        return state.load_state_dict(self, values, strict)

    def __repr__(self) -> str:
        inside = [f"{n}: {m!r}" for n, m in vars(self).items() if isinstance(m, Module)]
        return f"{type(self).__name__}({self.describe()}{', '.join(inside)})"

    def describe(self) -> str:
        """What repr says of this module itself."""
        return ""


def _walk(module: Module, path: str) -> Iterator[tuple[str, Module]]:
    yield path, module
    for name, value in vars(module).items():
        if isinstance(value, Module):
            yield from _walk(value, _join(path, name))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
