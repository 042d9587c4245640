"""A model as a chain of layers, y = fₙ(… f₁(x)), which a pipeline may cut between any two.

A model offers it as `chain()`, and beside it `criterion`, the loss of the chain's output.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from mpipar.nn.module import Module
from mpipar.nn.parameter import Parameter


class Layer(NamedTuple):
    """One link.   modules: dotted name in the model -> module;   forward: input -> output"""

    modules: dict[str, Module]
    forward: Callable[[Any], Any]

    def parameters(self) -> list[Parameter]:
        return list(dict.fromkeys(p for module in self.modules.values() for p in module.parameters()))


def chain_of(modules: Mapping[str, Module]) -> list[Layer]:
    """A layer for each module that has parameters, together with those behind it that have none."""
    groups: list[dict[str, Module]] = [{}]
    for name, module in modules.items():
        if _learns(module) and any(map(_learns, groups[-1].values())):
            groups.append({})
        groups[-1][name] = module
    return [Layer(group, partial(_in_turn, list(group.values()))) for group in groups]


def _learns(module: Module) -> bool:
    return next(module.parameters(), None) is not None


def _in_turn(modules: list[Module], x: Any) -> Any:
    for module in modules:
        x = module(x)
    return x
