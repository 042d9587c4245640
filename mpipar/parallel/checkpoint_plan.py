"""Who writes what: a plan that every rank makes alike from what all ranks said that they have."""

from typing import Any

from mpipar.errors import CheckpointError
from mpipar.parallel.boxes import Box, count, whole_box
from mpipar.parallel.holdings import Held, Holdings

Told = dict[str, Any]  # what a rank said, as JSON


def tell(step: int, have: Holdings, held: list[Held]) -> Told:
    """What this rank has, without the numbers."""
    optimizer = have.optimizer
    return {
        "step": step,
        "held": [(h.key, h.shape, h.box, str(h.dtype), h.bytes) for h in held],
        "aliases": {other: first for first, *others in have.names.values() for other in others},
        "dropout": {name: (m.seed, m.calls) for name, m in have.dropouts.items()},
        "optimizer": optimizer and {
            "kind": type(optimizer).__name__,
            "groups": [{k: group[k] for k in optimizer.defaults} for group in optimizer.param_groups],
            "states": {s.name: (s.group, s.step) for s in have.states},
        },
    }  # fmt: skip


def to_save(have: Holdings) -> list[Held]:
    """All values, and the state of what was updated."""
    updated = [s for s in have.states if s.step]
    return have.values + [h for s in updated for buffer in s.slots.values for h in s.held(buffer)]


def writers(told: list[Told]) -> dict[tuple[str, Box], int]:
    """(key, box) -> the rank that writes it: of those that have it, who has least to write so far.

    errors: CheckpointError where the boxes of all ranks are not the whole tensor, or of several steps
    """
    steps = sorted({one["step"] for one in told})
    if len(steps) > 1:
        raise CheckpointError(f"save: the ranks are at steps {steps}; let all save after the same one")
    holders: dict[tuple[str, Box], list[int]] = {}
    size: dict[tuple[str, Box], int] = {}
    for rank, one in enumerate(told):
        for key, _, box, _, nbytes in one["held"]:
            place = key, tuple(map(tuple, box))
            holders.setdefault(place, []).append(rank)
            size[place] = nbytes
    load, owner = [0] * len(told), {}
    for place in sorted(holders, key=lambda place: -size[place]):  # a large one last could not be balanced
        rank = min(holders[place], key=lambda r: load[r])
        load[rank] += size[place]
        owner[place] = rank
    _check_whole(told, owner)
    return owner


def manifest_of(told: list[Told], written: list[tuple[str, Any]]) -> dict[str, Any]:
    """What checkpoint.json says of all that.   written: (key, part_of(…)) from all ranks"""
    parts: dict[str, list[Any]] = {}
    for key, part in written:
        parts.setdefault(key, []).append(part)
    shapes = {key: (shape, dtype) for one in told for key, shape, _, dtype, _ in one["held"]}
    optimizers = [one["optimizer"] for one in told if one["optimizer"]]
    states = {name: state for one in optimizers for name, state in one["states"].items()}
    return {
        "tensors": {
            key: {"shape": shape, "dtype": dtype, "parts": parts[key]}
            for key, (shape, dtype) in shapes.items()
        },
        "aliases": {alias: name for one in told for alias, name in one["aliases"].items()},
        "dropout": {name: state for one in told for name, state in one["dropout"].items()},
        "optimizer": optimizers[0] | {"states": states} if optimizers else None,
    }


def _check_whole(told: list[Told], owner: dict[tuple[str, Box], int]) -> None:
    numbers: dict[str, int] = {}
    for key, box in owner:
        numbers[key] = numbers.get(key, 0) + count(box)
    for one in told:
        for key, shape, *_ in one["held"]:
            if numbers[key] != count(whole_box(shape)):
                raise CheckpointError(
                    f"these {len(told)} ranks have {numbers[key]} numbers of {key}, which has "
                    f"{count(whole_box(shape))}; save over all ranks of the mesh, all with the optimizer"
                )
