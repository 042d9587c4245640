"""A module's values as a dict of host arrays, under the names and in the shapes of PyTorch."""

from typing import Any, NamedTuple

import numpy as np

from mpipar.arrays import asarray, to_host
from mpipar.errors import OptionError, ShapeError


class Difference(NamedTuple):
    """Names that a state lacks, and names that the model lacks."""

    missing: list[str]
    unexpected: list[str]


def state_dict(module: Any) -> dict[str, np.ndarray]:
    """Copies of all values on the host by name, a tied one under each of its names.

    cost: one copy of the parameters, waited for
    """
    return {name: np.array(to_host(p.data)) for name, p in module.named_parameters(remove_duplicate=False)}


def load_state_dict(module: Any, values: dict[str, Any], strict: bool = True) -> Difference:
    """Copy values in by name, from arrays or CPU tensors of PyTorch; nothing is written on error.

    strict: every name must be there and no other
    errors: OptionError for missing or unexpected names, or tied ones that differ; ShapeError
    """
    model = type(module).__name__
    mine = dict(module.named_parameters(remove_duplicate=False))
    difference = Difference([k for k in mine if k not in values], [k for k in values if k not in mine])
    if strict and any(difference):
        raise OptionError(_keys(model, difference))
    given = {name: np.asarray(values[name]) for name in mine if name in values}
    _check_shapes(model, mine, given)
    _check_tied(model, mine, given)
    for name, value in given.items():
        p = mine[name]
        p.name = p.name or name
        p.data = asarray(value.astype(p.dtype))  # a copy, also where the dtype fits
    return difference


def _keys(model: str, difference: Difference) -> str:
    said = zip(("lacks", "has unknown"), difference, strict=True)
    parts = " and ".join(f"{what} {', '.join(keys)}" for what, keys in said if keys)
    return f"load_state_dict: the state {parts} for {model}; rename the keys, or pass strict=False"


def _check_shapes(model: str, mine: dict[str, Any], given: dict[str, np.ndarray]) -> None:
    wrong = [
        f"{k} {v.shape} instead of {mine[k].shape}" for k, v in given.items() if v.shape != mine[k].shape
    ]
    if wrong:
        raise ShapeError(f"load_state_dict: {', '.join(wrong)}; is it the state of another {model}?")


def _check_tied(model: str, mine: dict[str, Any], given: dict[str, np.ndarray]) -> None:
    first: dict[int, str] = {}
    for name, value in given.items():
        other = first.setdefault(id(mine[name]), name)
        if other != name and not np.array_equal(value, given[other], equal_nan=True):
            raise OptionError(
                f"load_state_dict: {other} and {name} are one parameter of this {model} and two different "
                "ones of the state; build the model untied"
            )
