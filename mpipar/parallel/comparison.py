"""A layout and its serial twin, compared tensor by tensor; see certify.py."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from mpipar.arrays import asarray, to_host
from mpipar.comm import Communicator
from mpipar.data import Batch
from mpipar.parallel.evidence import UNKNOWN, Case, block_of, cause_of
from mpipar.parallel.here import CLIPPED, GRADIENTS, NOTHING, Here
from mpipar.parallel.misplaced import misplaced
from mpipar.parallel.observe import Observed, observing, update, zeros_for_missing_gradients
from mpipar.parallel.shards import named
from mpipar.parallel.training import Training

LEAST = 1e-9  # of the largest gradient: below, a gradient is zero but for rounding


class Item(NamedTuple):
    """A tensor on this rank: in the layout, and what the twin says it should be.   scale: of the whole"""

    kind: str
    name: str
    mine: np.ndarray
    right: np.ndarray
    scale: float
    key: Any = None

    @property
    def layer(self) -> tuple[str, str]:
        """Weight and bias have the same; where a part of one tells nothing, the other may."""
        return self.kind, self.name.rpartition(".")[0] if self.kind in GRADIENTS else self.name

    @property
    def difference(self) -> float:
        """The largest, relative to the largest number of the whole tensor."""
        if self.mine.shape != self.right.shape:
            return np.inf
        worst = float(np.abs(self.mine - self.right).max(initial=0.0))
        return np.inf if np.isnan(worst) else worst / self.scale if worst else 0.0


class Found(NamedTuple):
    """The first tensor that differs.   ranks: on which;   cause, why: see evidence"""

    kind: str
    name: str
    step: int
    ranks: tuple[int, ...]
    difference: float
    cause: str
    why: str


class Comparison:
    """A layout and its twin, step by step."""

    def __init__(
        self, layout: Training, serial: Training, build_serial: Callable[[], Training], limit: float
    ) -> None:
        self.layout, self.serial, self.build_serial, self.limit = layout, serial, build_serial, limit
        self.comm: Communicator = layout.mesh.comm
        self.mesh = layout.mesh
        self.step, self.compared, self.largest, self.where = 0, 0, 0.0, ""
        self.here, self.right = Here(layout), named(serial.model)
        self.values: list[dict[str, np.ndarray]] = [self._values()]  # of the twin, before each step
        self.gradients: list[dict[str, np.ndarray]] = []  # of the twin, of each step
        self.case = Case(self.here, serial, build_serial, self.values, self.gradients)

    def look_at_names(self) -> Found | None:
        """Each parameter of the twin has to be there, of a pipeline on one stage alone.

        errors: LayoutError for other names
        """
        wrong = misplaced(self.layout, list(self.here.parameters), list(self.right))
        if wrong is None:
            return None
        name, ranks, why = wrong
        return Found("initial value", name, 0, ranks, np.inf, "a shifted stage boundary", why)

    def take_step(self, part: Batch, whole: Batch) -> Found | None:
        """One step of both.   returns: what differs, if anything does"""
        self.step += 1
        with (
            zeros_for_missing_gradients(self.layout),
            observing(self.layout.model, self.layout.pipeline) as here,
            observing(self.serial.model) as there,
        ):
            loss, right_loss = self.layout.backward(part), self.serial.backward(whole)
        self.case = replace(self.case, step=self.step, part=part, whole=whole, seen=there)
        self.gradients.append(self._right_gradients())
        outputs = self._outputs(here, there, part.rows)
        mine = self._own_gradients()
        gradients = self._gradients("gradient", mine, self.gradients[-1], there)
        found = self._first([*outputs, self._loss(loss, right_loss), *gradients])
        if found is not None:
            return found
        self._go_on_from_the_layout(mine)
        mine = update(self.layout, self._own_gradients)
        right = update(self.serial, self._right_gradients)
        self.values.append(self._values())
        clips = self.layout.clip or self.serial.clip
        found = self._first([*self._gradients(CLIPPED, mine, right, there)]) if clips and right else None
        return found or self.look("parameter")

    def look(self, kind: str) -> Found | None:
        """Compare all parameters."""
        mine = self.here.values()
        return self._first(
            [
                Item(kind, name, mine.get(name, NOTHING), self.here.part_of(kind, name, value), _scale(value))
                for name, value in self.values[-1].items()
            ]
        )

    def _go_on_from_the_layout(self, mine: dict[str, np.ndarray]) -> None:
        """Give the twin the layout's parameters and gradients, which are equal.   cost: see Here.whole"""
        values = self.here.values()
        for name, p in self.right.items():
            p.data = asarray(self.here.whole("parameter", name, values.get(name, NOTHING), p.shape))
            if p.grad is not None:
                p.grad[...] = asarray(self.here.whole("gradient", name, mine[name], p.shape))

    def _outputs(self, here: Observed, there: Observed, rows: tuple[int, int, int]) -> Iterator[Item]:
        for key in there.outputs:
            mine, whole = here.output(key), there.output(key)
            right = None if mine is None else block_of(whole[rows[0] : rows[1]], mine.shape, self.mesh)
            if right is None:  # elsewhere, or cut in a way of its own: what it is used for tells
                mine = right = NOTHING
            name = (key[0] or type(self.serial.model).__name__) + (f" (call {key[1] + 1})" if key[1] else "")
            yield Item("output", name, mine, right, _scale(whole), key)

    def _loss(self, loss: Any, right: Any) -> Item:
        mine = asarray(np.array([float(to_host(loss))]))
        total, right = to_host(self.mesh["dp,pp"].allreduce(mine)), np.array([float(to_host(right))])
        return Item("loss", "loss", total, right, _scale(right))

    def _own_gradients(self) -> dict[str, np.ndarray]:
        return {name: self.here.gradient(name) for name in self.gradients[-1]}

    def _right_gradients(self) -> dict[str, np.ndarray]:
        return {name: to_host(p.grad).copy() for name, p in self.right.items() if p.grad is not None}

    def _gradients(
        self, kind: str, mine: dict[str, np.ndarray], right: dict[str, np.ndarray], there: Observed
    ) -> Iterator[Item]:
        least = LEAST * max((float(np.abs(g).max(initial=0.0)) for g in right.values()), default=0.0)
        for name in sorted(right, key=lambda name: _place(there.completed, name)):
            should = self.here.part_of(kind, name, right[name])
            yield Item(kind, name, mine.get(name, should), should, max(_scale(right[name]), least))

    def _first(self, items: list[Item]) -> Found | None:
        """Of the items, which are the same ones on all ranks, the first that differs on any."""
        mine = np.array([item.difference for item in items])
        differences = to_host(self.comm.allgather(asarray(mine[None])))  # rank × item
        over = differences > self.limit
        self.compared += len(items)
        worst = int(differences.max(axis=0).argmax())
        if not over.any():
            if differences[:, worst].max() > self.largest:
                self.largest, self.where = float(differences[:, worst].max()), items[worst].name
            return None
        wrong = np.flatnonzero(over.any(axis=0))
        first = items[wrong[0]]
        cause, why = UNKNOWN
        for k in wrong:
            if cause == UNKNOWN[0] and items[k].layer == first.layer:
                cause, why = cause_of(self._case_of(items[k], over[:, k], items))
                why += "" if items[k] is first or cause == UNKNOWN[0] else f"; {items[k].name} tells"
        difference = float(differences[:, wrong[0]].max())
        return Found(first.kind, first.name, self.step, _numbers(over[:, wrong[0]]), difference, cause, why)

    def _case_of(self, item: Item, over: np.ndarray, items: list[Item]) -> Case:
        pairs = [(i.mine, i.right) for i in items if i.kind == "gradient"]
        return replace(
            self.case, kind=item.kind, name=item.name, mine=item.mine, right=item.right, scale=item.scale,
            ranks=_numbers(over), key=item.key, pairs=pairs,
        )  # fmt: skip

    def _values(self) -> dict[str, np.ndarray]:
        return {name: to_host(p.data).copy() for name, p in self.right.items()}


def _numbers(yes: np.ndarray) -> tuple[int, ...]:
    return tuple(map(int, np.flatnonzero(yes)))


def _scale(x: np.ndarray) -> float:
    return float(np.abs(x).max(initial=0.0)) or 1.0


def _place(names: list[str], name: str) -> int:
    return names.index(name) if name in names else len(names)  # a tied one's second name: at the end
