"""How many bytes a rank keeps: counted in its arrays, and by the closed forms of zero.py."""

from collections.abc import Iterable
from typing import Any

from mpipar.errors import OptionError
from mpipar.nn import Module
from mpipar.optim import Optimizer
from mpipar.parallel.units import Unit


def memory_bytes(
    model: Module, optimizer: Optimizer, units: Iterable[Unit] = (), rooms: Iterable[Any] = ()
) -> dict[str, int]:
    """Bytes of the arrays that this rank keeps for its model now, of each kind.

    units: whose pieces it keeps;   rooms: where ZeRO's stage 3 gathers layers
    Not counted: activations, and what is there only for a moment: in a bucket's reduce-scatter three
    times its size, and the optimizer's two scratch arrays.
    """
    parameters = list(model.parameters())
    flats = {id(p.place[0]): p.place[0] for p in parameters if p.place is not None}.values()
    alone = [p for p in parameters if p.place is None and p.outline is None]
    in_pieces = [unit for unit in units if unit.row is None]
    apart = [unit for unit in units if unit.row is None or unit.parameters[0].grad_buffer is None]
    flat_grads = [flat.grad for flat in flats if flat.grad is not None]
    loose = [p.grad for p in parameters if p.grad is not None and p.grad is not p.grad_buffer]
    return {
        "parameters": _bytes(x.data for x in (*flats, *alone, *in_pieces)),
        "gradients": _bytes([*flat_grads, *(unit.grad for unit in apart), *loose]),
        "states": optimizer.state_bytes(),
        "gathered": _bytes(rooms),
    }


def closed_form(
    numbers: int, ranks: int, stage: int, states: int, itemsize: int = 4, layer: int = 0
) -> dict[str, float]:
    """The same by zero.py's table, for Ψ = numbers, all trained, k = states, s = itemsize.

    layer: numbers of the largest layer, and of what belongs to none, which are gathered in stage 3
    errors: OptionError
    """
    if stage not in (0, 1, 2, 3):
        raise OptionError(f"stage={stage!r}; choose 0, 1, 2 or 3")
    whole = numbers * itemsize
    return {
        "parameters": whole / ranks if stage >= 3 else whole,
        "gradients": whole / ranks if stage >= 2 else whole,
        "states": states * whole / ranks if stage >= 1 else states * whole,
        "gathered": layer * itemsize if stage == 3 else 0,
    }


def _bytes(arrays: Iterable[Any]) -> int:
    return sum(array.nbytes for array in arrays)
