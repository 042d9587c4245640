"""An optimizer of which each rank steps its own pieces, and the norm of gradients that are in pieces."""

from collections.abc import Iterable
from typing import Any

from mpipar.arrays import xp
from mpipar.comm import Communicator
from mpipar.nn import Parameter
from mpipar.optim import Optimizer, clip_grad_norm, grad_norm
from mpipar.parallel.mesh import Mesh
from mpipar.parallel.shards import global_grad_norm
from mpipar.parallel.units import Unit, owned_groups


class Sharded:
    """Base: the pieces of all ranks of `comm` together are the parameters.

    parts: parameter by parameter what this rank owns; parts[i].own is a parameter of `optimizer`, which
      keeps its state, so this is what a checkpoint saves
    param_groups: the optimizer's, so that schedules work on this as on an optimizer
    """

    def __init__(
        self,
        units: list[Unit],
        comm: Communicator,
        parameters: Iterable[Any],
        optimizer: type[Optimizer],
        settings: dict[str, Any],
    ) -> None:
        self.units, self.comm = units, comm
        self.parts = [part for unit in units for part in unit.parts]
        self.optimizer = optimizer(owned_groups(parameters, units), **settings)
        self.param_groups = self.optimizer.param_groups

    def grad_norm(self, mesh: Mesh | None = None, parameters: Iterable[Parameter] | None = None) -> Any:
        """‖g‖ over the whole model, an array () of the backend, equal on all ranks.

        mesh: where tp ranks or stages share the model, too;   parameters: those that count on this rank, by
          default all (of a pipeline, parameters_once()); see global_grad_norm
        cost: a sweep over the own pieces, an allreduce of one number, and those of global_grad_norm
        """
        counted = None if parameters is None else set(parameters)
        own = [part.own for part in self.parts if counted is None or part.parameter in counted]
        norm = (grad_norm(own) if mesh is None else global_grad_norm(own, mesh)).astype("float64").reshape(1)
        return xp.sqrt(self.comm.allreduce(norm * norm))[0]

    def clip_grad_norm(
        self, max_norm: float, mesh: Mesh | None = None, parameters: Iterable[Parameter] | None = None
    ) -> Any:
        """optim.clip_grad_norm of the own pieces by that norm.   returns: it"""
        return clip_grad_norm([p.own for p in self.parts], max_norm, self.grad_norm(mesh, parameters))
