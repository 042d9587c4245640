"""A training step on a mesh: micro-batches, gradients, the average, clipping, the update.

    gradients of micro-batch 1 … m-1   nothing is sent over dp; with stages, see pipeline.py
    gradients of micro-batch m         then, or meanwhile, they are averaged over dp
    clip                               by the norm over all parts, of tp ranks, stages and ZeRO's pieces
    optimizer, schedule                each rank its own parts

So one text serves the serial program, which is the mesh of one rank, and every layout. Dropout
masks are drawn for the global batch and the number of the step (nn/dropout.py), so they depend
neither on the layout nor on the number of micro-batches.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from mpipar.arrays import xp
from mpipar.data import Batch, micro_batches
from mpipar.errors import LayoutError, OptionError
from mpipar.nn import Dropout, Module, share_rows
from mpipar.optim import Optimizer, Schedule, clip_grad_norm
from mpipar.parallel.data import DataParallel
from mpipar.parallel.mesh import Mesh
from mpipar.parallel.pipeline import Pipeline
from mpipar.parallel.replicas import check_same_values
from mpipar.parallel.shards import global_grad_norm
from mpipar.parallel.zero import ZeRO
from mpipar.tensor import Tensor, no_grad


class Training:
    """A model, how it gets its gradients, and its optimizer.

        training = Training(model, AdamW(model.parameters()), mesh)
        for batch in loader:                 # this dp rank's parts of the global batches
            loss = training.step(batch)      # this rank's part of the mean: the dp ranks' sum is the loss

    model: has `loss(x, y)`, the mean over the samples of x; with a pipeline, its model
    optimizer: an Optimizer, or a ZeRO of the model over mesh["dp"]; of a pipeline's, with
      alone=pipeline.ties.shared
    clip: the largest norm of all gradients; 0: no clipping
    pipeline: over mesh["pp"]; it has its own number of micro-batches, and the loss on its last stage:
      the sum over mesh["dp,pp"] is the loss
    replica: who averages gradients, the ZeRO or a DataParallel;   options: of the latter
    errors: OptionError; LayoutError for a pipeline with ZeRO's third stage
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer | ZeRO,
        mesh: Mesh,
        *,
        micro: int = 1,
        clip: float = 0.0,
        schedule: Schedule | None = None,
        pipeline: Pipeline | None = None,
        **options: Any,
    ) -> None:
        if micro < 1 or clip < 0:
            raise OptionError(f"Training: micro={micro}, clip={clip}; give at least 1 and 0")
        self.model, self.optimizer, self.mesh, self.schedule = model, optimizer, mesh, schedule
        self.micro, self.clip, self.pipeline, self.steps = micro, clip, pipeline, 0
        self.zero = optimizer if isinstance(optimizer, ZeRO) else None
        if self.zero is not None and options:
            raise OptionError(f"Training: {', '.join(options)} are DataParallel's; give ZeRO its own instead")
        if pipeline is not None and self.zero is not None and self.zero.stage == 3:
            raise LayoutError(
                "Training: ZeRO stage 3 gathers a layer around its forward, and a pipeline keeps its stages "
                "whole; give stage 1 or 2"
            )
        self.replica = self.zero or DataParallel(model, mesh["dp"], **options)

    def step(self, batch: Batch) -> Any:
        """One update of all ranks.   returns: this rank's part of the mean loss, an array ()"""
        loss = self.backward(batch)
        self.update()
        return loss

    def backward(self, batch: Batch) -> Any:
        """Gradients of the mean over the global batch.   returns: as step"""
        self.optimizer.zero_grad()
        with self.mesh.comm.scope("forward and backward", self.steps):
            return (self._accumulate if self.pipeline is None else self._through_stages)(batch)

    def update(self) -> None:
        """Clip, step the optimizer and the schedule."""
        with self.mesh.comm.scope("optimizer", self.steps):
            if self.clip:
                self._clip()
            self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
        self.steps += 1

    def verify(self) -> None:
        """Compare all dp ranks' parameters, see replicas.py."""
        with self.gathered():
            check_same_values(self.model, self.mesh["dp"])

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Inside, no graph, no dropout, and all of this rank's parameters are whole."""
        self.model.eval()
        with no_grad(), self.gathered():
            yield
        self.model.train()

    def gathered(self) -> Any:
        """See ZeRO.gathered."""
        return nullcontext() if self.zero is None else self.zero.gathered()

    def _accumulate(self, batch: Batch) -> Any:
        *first, last = micro_batches(batch, self.micro)
        total = sum((self._add(part) for part in first), start=xp.zeros(()))
        with self.replica.averaging(batch.share):
            total = total + self._add(last)
        return total * batch.share

    def _add(self, part: Any) -> Any:
        """Add the gradients of a micro-batch.   returns: its part of this rank's mean loss"""
        if not len(part.y):  # a short last batch leaves some ranks without samples
            return xp.zeros(())
        share_rows(self.model, part.rows)
        self._repeat_masks()
        loss = self.model.loss(as_input(part.x), part.y) * part.weight
        loss.backward()
        return loss.data

    def _repeat_masks(self) -> None:
        """Those of this step, also of its next micro-batch."""
        for module in self.model.modules():
            if isinstance(module, Dropout):
                module.calls = self.steps

    def _through_stages(self, batch: Batch) -> Any:
        self._repeat_masks()
        averaging, given = self.replica.averaging(batch.share), (batch.x, batch.y, batch.rows)
        if self.zero is None:
            loss = self.pipeline.step(*given, averaging)
        else:
            loss = self.pipeline.step(*given)
            with averaging:  # only now, for tied gradients are summed over stages while they are whole
                pass
        return xp.zeros(()) if loss is None else loss * batch.share

    def _clip(self) -> None:
        parameters = list(self.model.parameters())
        counted = parameters if self.pipeline is None else self.pipeline.parameters_once()
        if self.zero is not None:
            self.zero.clip_grad_norm(self.clip, self.mesh, counted)
        else:
            clip_grad_norm(parameters, self.clip, global_grad_norm(counted, self.mesh))


def as_input(x: Any) -> Any:
    """What a model is given: numbers as a Tensor, ids as they are."""
    return Tensor(x) if x.dtype.kind == "f" else x
