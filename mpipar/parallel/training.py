"""A training step on a mesh: micro-batches, gradients, the average, clipping, the update.

    gradients of micro-batch 1 … m-1   nothing is sent over dp
    gradients of micro-batch m         then, or meanwhile, they are averaged over dp
    clip                               by the norm over all parts, tp ranks included
    optimizer, schedule                each rank its own parts

So one text serves the serial program, which is the mesh of one rank, and every layout. Dropout
masks are drawn for the global batch and the number of the step (nn/dropout.py), so they depend
neither on the layout nor on the number of micro-batches.
"""

from typing import Any

from mpipar.arrays import xp
from mpipar.data import Batch, micro_batches
from mpipar.errors import OptionError
from mpipar.nn import Dropout, Module, share_rows
from mpipar.optim import Optimizer, Schedule, clip_grad_norm
from mpipar.parallel.data import DataParallel
from mpipar.parallel.mesh import Mesh
from mpipar.parallel.shards import global_grad_norm
from mpipar.tensor import Tensor


class Training:
    """A model, how it gets its gradients, and its optimizer.

        training = Training(model, AdamW(model.parameters()), mesh)
        for batch in loader:                 # this dp rank's parts of the global batches
            loss = training.step(batch)      # this rank's part of the mean: the dp ranks' sum is the loss

    model: has `loss(x, y)`, the mean over the samples of x
    clip: the largest norm of all gradients; 0: no clipping
    others: options of DataParallel
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        mesh: Mesh,
        *,
        micro: int = 1,
        clip: float = 0.0,
        schedule: Schedule | None = None,
        **options: Any,
    ) -> None:
        if micro < 1 or clip < 0:
            raise OptionError(f"Training: micro={micro}, clip={clip}; give at least 1 and 0")
        self.model, self.optimizer, self.mesh, self.schedule = model, optimizer, mesh, schedule
        self.micro, self.clip, self.steps = micro, clip, 0
        self.replica = DataParallel(model, mesh["dp"], **options)

    def step(self, batch: Batch) -> Any:
        """One update of all ranks.   returns: this rank's part of the mean loss, an array ()"""
        loss = self.backward(batch)
        self.update()
        return loss

    def backward(self, batch: Batch) -> Any:
        """Gradients of the mean over the global batch.   returns: as step"""
        self.optimizer.zero_grad()
        comm = self.mesh.comm
        *first, last = micro_batches(batch, self.micro)
        with comm.scope("forward and backward", self.steps):
            total = sum((self._add(part) for part in first), start=xp.zeros(()))
            with self.replica.averaging(batch.share):
                total = total + self._add(last)
        return total * batch.share

    def update(self) -> None:
        """Clip, step the optimizer and the schedule."""
        with self.mesh.comm.scope("optimizer", self.steps):
            if self.clip:
                parameters = list(self.model.parameters())
                clip_grad_norm(parameters, self.clip, global_grad_norm(parameters, self.mesh))
            self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
        self.steps += 1

    def _add(self, part: Any) -> Any:
        """Add the gradients of a micro-batch.   returns: its part of this rank's mean loss"""
        if not len(part.y):  # a short last batch leaves some ranks without samples
            return xp.zeros(())
        share_rows(self.model, part.rows)
        for module in self.model.modules():
            if isinstance(module, Dropout):
                module.calls = self.steps
        loss = self.model.loss(as_input(part.x), part.y) * part.weight
        loss.backward()
        return loss.data


def as_input(x: Any) -> Any:
    """What a model is given: numbers as a Tensor, ids as they are."""
    return Tensor(x) if x.dtype.kind == "f" else x
