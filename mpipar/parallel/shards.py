"""Parameters that ranks share: making them, and putting them together again.

sharded: a layer's parameter -> the part of it that this rank keeps
whole: the parts of all ranks -> the parameter, or its gradient, as the serial model has it
cut: the other way, what a rank keeps of a whole array
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from mpipar.arrays import to_host, xp
from mpipar.comm import Communicator
from mpipar.errors import LayoutError
from mpipar.nn import Module, Parameter, Shard
from mpipar.optim import grad_norm
from mpipar.parallel.mesh import Mesh
from mpipar.tensor import Tensor

THINGS = ("rows", "columns")


def sharded(what: str, p: Parameter | None, comm: Communicator, dim: int = 0, groups: int = 1) -> Any:
    """A parameter with the recipe of p, of which this rank keeps its part along dim; None for none.

    what: for the error, "ColumnLinear: weight"
    errors: LayoutError for a size that the ranks cannot share equally
    """
    if p is None:
        return None
    shape, axis = p.init.shape, comm.axis or "tp"
    if shape[dim] % (groups * comm.size):
        raise LayoutError(
            f"{what} {shape} has {shape[dim]} {THINGS[dim]}, which {comm.size} {axis} ranks cannot share; "
            f"pad {THINGS[dim]} or change {axis}"
        )
    return Parameter(p.init, shard=Shard(shape, dim, comm.rank, comm.size, axis, groups))


def global_slices(p: Tensor) -> list[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Pairs of slices (a, b): a of the whole parameter is b of this rank's p."""
    shard = getattr(p, "shard", None)
    everything = (slice(None),) * p.ndim
    return [(everything, everything)] if shard is None else shard.slices()


def cut(p: Tensor, whole: np.ndarray) -> np.ndarray:
    """What this rank keeps of a host array shaped like the whole parameter.   A view where it can be."""
    shard = getattr(p, "shard", None)
    return whole if shard is None else whole[shard.part]


def whole(p: Tensor, part: Any, comm: Communicator) -> np.ndarray:
    """All ranks' parts joined: a host array shaped like the whole parameter, on all ranks.

    part: this rank's p.data or p.grad;   comm: the ranks that share p
    cost: an allgather of the part; only a copy to the host where p is not shared
    """
    shard, mine = p.shard, to_host(part)
    if shard is None:
        return mine.copy()
    parts = comm.allgather(np.ascontiguousarray(mine)[None])
    joined = np.empty(shard.shape, mine.dtype)
    for rank in range(comm.size):
        for there, here in shard.of(rank).slices():
            joined[there] = parts[rank][here]
    return joined


def named(model: Module) -> dict[str, Parameter]:
    """Parameters by name, a tied one under each of its names."""
    return dict(model.named_parameters(remove_duplicate=False))


def whole_state_dict(model: Module, comm: Communicator) -> dict[str, np.ndarray]:
    """model.state_dict() with whole parameters, as the serial model has it, on all ranks of comm."""
    return {name: whole(p, p.data, comm) for name, p in named(model).items()}


def load_whole_state_dict(model: Module, values: dict[str, Any]) -> None:
    """model.load_state_dict from whole parameters: each rank takes its parts."""
    mine = named(model)
    model.load_state_dict(
        {name: cut(mine[name], np.asarray(v)) if name in mine else v for name, v in values.items()}
    )


def global_grad_norm(parameters: Iterable[Parameter], mesh: Mesh) -> Any:
    """‖g‖ over the whole model: parts summed over the tp ranks, what they all have once, then stages.

    An array () of the backend, equal on all ranks of tp and pp, for optim.clip_grad_norm(…, norm=).
    parameters: this rank's; of a parameter that two stages have, one of them gives it
    cost: one sweep over the gradients, an allreduce of one number, and one more where there are stages
    """
    parameters = list(dict.fromkeys(parameters))
    shared, replicated = (
        grad_norm(p for p in parameters if (p.shard is not None) == is_shared).astype("float64").reshape(1)
        for is_shared in (True, False)
    )
    total = mesh["tp"].allreduce(shared * shared) + replicated * replicated
    if mesh.axes["pp"] > 1:
        total = mesh["pp"].allreduce(total)
    return xp.sqrt(total)[0]
