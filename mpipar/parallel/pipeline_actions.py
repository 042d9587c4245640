"""The actions of a pipeline on one rank: what each computes, what it keeps and what it hands on."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from mpipar.parallel.pipeline_batch import Losses, Part
from mpipar.parallel.pipeline_messages import Post
from mpipar.parallel.stages import Stage
from mpipar.schedule import Action, Schedule, messages_of
from mpipar.tensor import Tensor, backward_input, no_grad


@dataclass
class Held:
    """Of one stage and micro-batch, from its F to its B or W.

    x: the input;   graph: where x's gradient is found, and y, or None until it is computed again
    later: the weights' part of a split backward
    """

    x: Any
    graph: tuple[Tensor, Tensor] | None
    later: Any = None


class Actions:
    """One step's actions.   peak: activations held at most;   loss: the sum so far, on the last stage"""

    def __init__(
        self,
        stages: dict[int, Stage],
        last: int,
        parts: list[Part],
        post: Post,
        losses: Losses,
        recompute: bool,
    ) -> None:
        self._stages, self._last, self._parts, self._post = stages, last, parts, post
        self._losses, self._recompute = losses, recompute
        self._weight = losses.weight([part.y for part in parts]) if last in stages else 0.0
        for stage in stages.values():
            stage.begin_step()
        self._held: dict[tuple[int, int], Held] = {}
        self.peak, self.loss = 0, None

    def starts_from(self, action: Action) -> Any:
        """What an action needs of the stage before or behind, waited for; None where there is none."""
        stage, kind, micro = action
        if kind == "F":
            return self._post.take(stage, "F", micro) if stage else self._parts[micro].x
        return self._post.take(stage, "B", micro) if kind != "W" and stage < self._last else None

    def compute(self, action: Action, given: Any) -> None:
        """given: what `starts_from` returned"""
        stage, kind, micro = action
        if kind == "F":
            self._forward(stage, micro, given)
        elif kind == "W":
            self._held.pop((stage, micro)).later()
        else:
            self._backward(stage, kind, micro, given)

    def _forward(self, stage: int, micro: int, x: Any) -> None:
        with no_grad() if self._recompute else nullcontext():
            graph = self._graph(stage, micro, x)
        self._held[stage, micro] = Held(x, None if self._recompute else graph)
        self.peak = max(self.peak, len(self._held))
        y = graph[1].data
        if stage < self._last:
            self._post.give(stage, "F", micro, y)
        else:
            self.loss = y if self.loss is None else self.loss + y

    def _backward(self, stage: int, kind: str, micro: int, dy: Any) -> None:
        held = self._held[stage, micro]
        start, y = held.graph or self._graph(stage, micro, held.x)
        held.graph = None
        if kind == "I":
            held.later = backward_input(y, start, dy) if y.requires_grad else lambda: None
        else:
            del self._held[stage, micro]
            if y.requires_grad:  # not so on a first stage whose layers are all frozen
                y.backward(dy)
        if stage:
            self._post.give(stage, "B", micro, start.grad)

    def _graph(self, stage: int, micro: int, x: Any) -> tuple[Tensor, Tensor]:
        """Where the gradient of x is found, and y, of the last stage the loss."""
        part = self._parts[micro]
        start, y = self._stages[stage](Tensor(x, requires_grad=stage > 0), part.rows)
        return start, self._losses(y, part.y, self._weight) if stage == self._last else y


def forward_alone(stages: dict[int, Stage], schedule: Schedule, post: Post, x: Any) -> Tensor | None:
    """All of x through this rank's stages, one after the other -> the last one's output."""
    y = None
    for k, stage in sorted(stages.items()):
        received, sent = messages_of(Action(k, "F", 0), schedule)
        for message in received:
            post.carry(message)
        _, y = stage(Tensor(post.take(k, "F", 0) if k else x), (0, len(x), len(x)))
        post.give(k, "F", 0, y.data)
        for message in sent:
            post.carry(message)
    post.finish()
    return y
