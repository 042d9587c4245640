"""An optimizer's state as a dict, in the form of PyTorch's.

    {"state": {i: {"step": t, "exp_avg": array, ...}},
     "param_groups": [{"lr": ..., "params": [i, ...], "names": [...]}]}

i counts the parameters through all groups; one that was never updated has no entry. A state
saved by PyTorch loads too, once its tensors are on the CPU.
"""

from typing import Any

import numpy as np

from mpipar.arrays import asarray, to_host
from mpipar.errors import OptionError, ShapeError


def state_dict(optimizer: Any) -> dict[str, Any]:
    """Copies on the host.   cost: one copy of the state, waited for"""
    number = _numbers(optimizer)
    state = {}
    for slots in optimizer._slots:
        for i, p in enumerate(slots.parameters):
            if slots.steps[i]:
                values = {k: np.array(to_host(v)) for k, v in slots.of(i).items()}
                state[number[id(p)]] = {"step": slots.steps[i], **values}
    groups = [
        {**group, "params": [number[id(p)] for p in group["params"]], "names": _names(group)}
        for group in optimizer.param_groups
    ]
    return {"state": dict(sorted(state.items())), "param_groups": groups}


def load_state_dict(optimizer: Any, saved: dict[str, Any]) -> None:
    """Go on where `saved` was; nothing is changed on error.

    errors: OptionError for other groups, names or state; ShapeError for other shapes
    """
    _check_groups(optimizer, saved["param_groups"])
    number = _numbers(optimizer)
    state = {int(i): dict(entry) for i, entry in saved["state"].items()}
    for slots in optimizer._slots:
        for p in slots.parameters:
            _check_entry(optimizer, p, state.get(number[id(p)], {}))
    for group, other in zip(optimizer.param_groups, saved["param_groups"], strict=True):
        group.update({k: other[k] for k in optimizer.defaults if k in other})
    for slots in optimizer._slots:
        slots.values = {}
        for i, p in enumerate(slots.parameters):
            _load_entry(optimizer, slots, i, state.get(number[id(p)]))


def _load_entry(optimizer: Any, slots: Any, i: int, entry: dict[str, Any] | None) -> None:
    if entry is None:
        slots.steps[i] = 0
        return
    # PyTorch's SGD keeps no count: with a momentum it was past the first update
    known = any(entry.get(name) is not None for name in optimizer.buffers)
    slots.steps[i] = int(np.asarray(entry.get("step", known)))
    for name in optimizer.buffers:
        if entry.get(name) is not None:
            optimizer.prepare(slots)
            slots.of(i)[name][...] = asarray(np.asarray(entry[name]).astype(slots.parameters[i].dtype))


def _check_groups(optimizer: Any, saved: list[dict[str, Any]]) -> None:
    mine, theirs = ([len(g["params"]) for g in groups] for groups in (optimizer.param_groups, saved))
    if mine != theirs:
        raise OptionError(
            f"load_state_dict: the state has groups of {theirs} parameters, the optimizer {mine}; "
            "make the optimizer over the same parameters in the same groups"
        )
    for group, other in zip(optimizer.param_groups, saved, strict=True):
        for name, known in zip(_names(group), other.get("names") or _names(group), strict=True):
            if name != known and None not in (name, known):
                raise OptionError(
                    f"load_state_dict: the state is of parameter {known} where the optimizer has {name}; "
                    "pass the parameters in the order in which they were saved"
                )


def _check_entry(optimizer: Any, p: Any, entry: dict[str, Any]) -> None:
    for name, value in entry.items():
        if name == "step" or value is None:
            continue
        if name not in optimizer.buffers:
            raise OptionError(
                f"load_state_dict: {type(optimizer).__name__} keeps no {name!r}; "
                "is it another optimizer's state?"
            )
        if np.shape(value) != p.shape:
            raise ShapeError(f"load_state_dict: {name} {np.shape(value)} for {p!r}; was another model saved?")


def _numbers(optimizer: Any) -> dict[int, int]:
    every = [p for group in optimizer.param_groups for p in group["params"]]
    return {id(p): i for i, p in enumerate(every)}


def _names(group: dict[str, Any]) -> list[str | None]:
    return [p.name for p in group["params"]]
