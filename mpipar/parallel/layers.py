"""Which parameters are gathered together in ZeRO's third stage: those of a layer, and those of none."""

from collections import Counter
from collections.abc import Sequence

from mpipar.errors import LayoutError
from mpipar.nn import Module, ModuleList, Parameter


def outermost_members(module: Module) -> list[Module]:
    """The members of ModuleLists (and Sequentials) that lie in no other such list."""
    found: list[Module] = []
    if isinstance(module, ModuleList):
        return list(module)
    for child in vars(module).values():
        if isinstance(child, Module):
            found += outermost_members(child)
    return found


def belongings(model: Module, modules: Sequence[Module]) -> tuple[list[Parameter], list[list[Parameter]]]:
    """What is trained outside the modules or in several of them, and what in each of them alone."""
    for module in modules:
        nested = [m for m in module.modules() if m is not module and m in modules]
        if nested or module is model:
            inner = type(nested[0] if nested else module).__name__
            raise LayoutError(f"ZeRO stage 3: {inner} lies in another layer, or is the model; name only one")
    everywhere = _places(model)
    inside = [
        [p for p in module.parameters() if p.requires_grad and places[p] == everywhere[p]]
        for module, places in ((m, _places(m)) for m in modules)
    ]
    alone = {p for own in inside for p in own}
    return [p for p in model.parameters() if p.requires_grad and p not in alone], inside


def _places(module: Module) -> Counter[Parameter]:
    """In how many places the module has each parameter."""
    return Counter(p for _, p in module.named_parameters(remove_duplicate=False))
