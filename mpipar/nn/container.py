"""Modules in a row."""

from collections.abc import Iterable, Iterator
from typing import Any

from mpipar.nn.chain import Layer, chain_of
from mpipar.nn.module import Module


class ModuleList(Module):
    """Modules named 0, 1, 2, …   Names like PyTorch's: `layers.0.weight`."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        for number, module in enumerate(modules):
            setattr(self, str(number), module)

    def __iter__(self) -> Iterator[Module]:
        return iter([m for m in vars(self).values() if isinstance(m, Module)])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, number: int) -> Module:
        return list(self)[number]


class Sequential(ModuleList):
    """y = fₙ(… f₁(x)).   Names: `0.weight`, `2.weight`, as of torch.nn.Sequential.

    seed: draws the initial values of all modules that have none
    """

    def __init__(self, *modules: Module, seed: int | None = None) -> None:
        super().__init__(modules)
        self.initialize(seed)

    def forward(self, x: Any) -> Any:
        for module in self:
            x = module(x)
        return x

    def chain(self) -> list[Layer]:
        """See chain.py."""
        return chain_of({name: m for name, m in vars(self).items() if isinstance(m, Module)})
