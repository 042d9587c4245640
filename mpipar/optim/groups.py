"""From what a user passes to an optimizer to its groups: dicts of parameters and settings."""

from collections.abc import Iterable
from typing import Any

from mpipar.errors import OptionError, ShapeError
from mpipar.tensor import Tensor


def make_groups(parameters: Iterable[Any], settings: dict[str, Any]) -> list[dict[str, Any]]:
    """One dict a group: its "params", and all settings, its own before the common ones.

    errors: OptionError for no parameters, unknown settings, or a parameter in two groups
    """
    given = _listed(parameters)
    if not given:
        raise OptionError("an optimizer needs parameters; was model.parameters() used up before?")
    groups = given if isinstance(given[0], dict) else [{"params": given}]
    seen: set[int] = set()
    return [_group(group, settings, seen) for group in groups]


def by_dtype(group: dict[str, Any]) -> list[tuple[dict[str, Any], list[Tensor]]]:
    """(group, its trainable parameters of one dtype) for each dtype."""
    kinds: dict[Any, list[Tensor]] = {}
    for p in group["params"]:
        if p.requires_grad:
            kinds.setdefault(p.dtype, []).append(p)
    return [(group, same) for same in kinds.values()]


def check_contiguous(p: Tensor) -> None:
    """errors: ShapeError for data that has no flat view"""
    if not p.data.flags.c_contiguous:
        raise ShapeError(f"{p!r} is a strided view, which no flat update can reach; copy its data first")


def _group(group: dict[str, Any], settings: dict[str, Any], seen: set[int]) -> dict[str, Any]:
    if "params" not in group or any(k not in settings and k != "params" for k in group):
        raise OptionError(
            f"a group of parameters with {', '.join(map(repr, group))}; give 'params' and any of "
            f"{', '.join(settings)}"
        )
    params = _listed(group["params"])
    for p in params:
        if not isinstance(p, Tensor) or p.vjp is not None:
            raise OptionError(f"an optimizer updates leaf tensors, not {p!r}; pass model.parameters()")
        if id(p) in seen:
            raise OptionError(f"{p!r} is in two groups; put it into one of them")
    seen.update(map(id, params))
    # a tied parameter may come twice
    return {**settings, **group, "params": list(dict.fromkeys(params))}


def _listed(parameters: Any) -> list[Any]:
    return [parameters] if isinstance(parameters, Tensor) else list(parameters)
