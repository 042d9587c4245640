"""Pipeline parallelism: each rank has consecutive layers, micro-batches travel through all of them
(GPipe: Huang et al., NeurIPS 2019; 1F1B: Narayanan et al., SC 2021; zero bubble: Qi et al., ICLR 2024).

A rank runs its row of a schedule (schedule/), lowered to actions and messages:

    F    y = stage(x), x from the stage before          keeps the graph from x to y
    B    x's and the weights' gradients from y's, which comes from the stage behind
    I    x's gradient alone;   W: the weights' gradients alone, later (tensor/split.py)

The last stage's y is the loss of a micro-batch, weighed once, so that the losses, and with them
all gradients, add up to those of the mean over the batch.

Memory a rank: its layers, and the graphs of the micro-batches in flight (schedule.peaks of them at
most), or with recompute their inputs and the graph of one.   Messages a step, between neighbouring
stages on different ranks: m of activations, m of gradients.   Bubble: see the schedule's file.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import numpy as np

from mpipar.arrays import to_host
from mpipar.comm import Communicator
from mpipar.errors import GraphError
from mpipar.nn import Parameter
from mpipar.parallel.pipeline_actions import Actions, forward_alone
from mpipar.parallel.pipeline_batch import Losses, parts_of_batch
from mpipar.parallel.pipeline_messages import Post, Shapes
from mpipar.parallel.stages import Stage, Ties, assemble, cut_layers, draw, layers_of
from mpipar.schedule import Message, Schedule, lower, schedule_for
from mpipar.tensor import Tensor, no_grad


class Pipeline:
    """The stages of `model` that this rank of pp has.

        pipeline = Pipeline(GPT(**config), mesh["pp"], "1f1b", micro_batches=8, seed=0)
        optimizer = AdamW(pipeline.parameters())
        optimizer.zero_grad()
        loss = pipeline.step(x, y)
        optimizer.step()

    schedule: a name of schedule.SCHEDULES, a Schedule, or the file of a table
    micro_batches: by default as many as ranks; a table tells its own
    partition: of the model's layers: count, parameters, or a list, see stages.cut_layers
    virtual: stages a rank, of interleaved
    recompute: keep only a stage's input, and compute the rest again for the backward
    loss: (output, y) -> the mean over a micro-batch, by default the model's criterion
    seed: draws this rank's layers, where the model was built without values
    model: a Module of this rank's layers, at their places in the whole;   stages: number -> Stage
    peak: activations that the last step held at most;   waited: seconds in all steps, for other stages
    errors: LayoutError where the schedule is not for pp's ranks, or the model has fewer layers than
      it has stages; ScheduleError; OptionError
    """

    def __init__(
        self,
        model: Any,
        pp: Communicator,
        schedule: Schedule | str = "1f1b",
        *,
        micro_batches: int | None = None,
        partition: str | list[Any] = "count",
        virtual: int = 1,
        recompute: bool = False,
        loss: Any = None,
        seed: int | None = None,
    ) -> None:
        self.pp, self.recompute, self.peak, self.waited = pp, recompute, 0, 0.0
        self.schedule = schedule_for(schedule, pp.size, micro_batches, virtual)
        self.losses = Losses(model, loss)
        self._program = lower(self.schedule)[pp.rank]
        layers, rank_of = layers_of(model), self.schedule.rank_of
        self.partition = cut_layers(layers, self.schedule.stages, partition)
        cut = [layers[of.start : of.stop] for of in self.partition]
        self.stages = {k: Stage(cut[k]) for k in range(len(cut)) if rank_of[k] == pp.rank}
        self.model = assemble([layer for stage in self.stages.values() for layer in stage.layers])
        self._names = {p: name for name, p in model.named_parameters()}
        if seed is not None:
            draw(self.model, self._names, seed)
        self.ties = Ties({k: [p for one in cut[k] for p in one.parameters()] for k in rank_of}, rank_of, pp)
        self._shapes: dict[tuple[int, ...], Shapes] = {}  # that messages have for a batch of that shape

    @property
    def is_last(self) -> bool:
        """Whether the last stage, and with it the loss, is on this rank."""
        return self.schedule.stages - 1 in self.stages

    def step(
        self,
        x: Any,
        y: Any,
        rows: tuple[int, int, int] | None = None,
        averaging: AbstractContextManager | None = None,
    ) -> Any:
        """Forward and backward of a batch -> its mean loss, an array (), on the last stage; else None.

        x, y: arrays, the same on all ranks of pp; only the first stage reads x, but for its shape, and
          only the last one y, which may be None elsewhere
        rows: (start, stop, total), which rows of the global batch these are; by default all
        averaging: of the gradients with other ranks, as DataParallel.averaging(share); entered before
          the last backward, left when all is sent
        errors: LayoutError where the micro-batches do not divide the batch; GraphError for gradients
          of an earlier step
        """
        parts = parts_of_batch(x, y if self.is_last else None, rows, self.schedule.micros)
        if any(p.grad is not None for p in self.parameters()):
            raise GraphError("the gradients of an earlier step are still there; call zero_grad() before step")
        post = Post(self.pp, self._shapes.setdefault(tuple(x.shape), {}), self.schedule)
        actions = Actions(self.stages, self.schedule.stages - 1, parts, post, self.losses, self.recompute)
        with ExitStack() as ends, self.pp.scope(f"pipeline {self.schedule.name}"):
            self._carry_out(actions, post, averaging, ends)
        self.ties.sum_gradients()
        self.peak = actions.peak
        return actions.loss

    def _carry_out(
        self, actions: Actions, post: Post, averaging: AbstractContextManager | None, ends: ExitStack
    ) -> None:
        last = max((n for n, step in enumerate(self._program) if step.kind in ("B", "W")), default=-1)
        for number, step in enumerate(self._program):
            if number == last and averaging is not None:
                ends.enter_context(averaging)
            if isinstance(step, Message):
                post.carry(step)
                continue
            with self._waiting():  # outside its scope, which is to tell how long it computes
                given = actions.starts_from(step)
            with self.pp.scope(str(step), micro=step.micro):
                actions.compute(step, given)
        with self._waiting():
            post.finish()

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        start = self.pp.wtime()
        yield
        self.waited += self.pp.wtime() - start

    def broadcast(self, loss: Any) -> float:
        """What `step` returned, as a number on all ranks of pp.   cost: a bcast of 8 bytes"""
        number = np.array([0.0 if loss is None else float(to_host(loss))])
        return float(self.pp.bcast(number, root=self.schedule.rank_of[self.schedule.stages - 1])[0])

    def predict(self, x: Any) -> Tensor | None:
        """The model's output on the last stage, else None; of all of x at once, without a graph.

        x: as of `step`.   Without dropout after model.eval()
        """
        post = Post(self.pp, {}, self.schedule)
        with self.pp.scope("predict"), no_grad():
            output = forward_alone(self.stages, self.schedule, post, x)
        return output if self.is_last else None

    def parameters(self) -> Iterator[Parameter]:
        """This rank's."""
        return self.model.parameters()

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """This rank's, under their names in the whole model."""
        return ((self._names[p], p) for p in self.parameters())

    def parameters_once(self) -> list[Parameter]:
        """This rank's but for those that another rank of pp counts, for global_grad_norm."""
        return [p for p in self.parameters() if p not in self.ties.elsewhere]
