"""The first tensor that differs, with all that may tell why."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mpipar.arrays import asarray, to_host
from mpipar.parallel.here import Here
from mpipar.parallel.mesh import Mesh
from mpipar.parallel.observe import Observed
from mpipar.parallel.training import Training

EXPLAINED = 1e-3  # of the difference may be left
Said = str | None  # what tells a mistake, or that it is not this one


@dataclass(frozen=True)
class Case:
    """The first tensor that differs, on this rank, and all that may tell why.

    mine, right: it and what it should be;   scale: the largest number of the whole tensor
    ranks: which differ;   pairs: mine and right of all gradients of the step, this one's among them
    values, gradients: of the twin by name, whole, before each step and of each step
    part, whole: the batch of this rank and of the twin;   seen: the twin's forward;   key: of an output there
    """

    here: Here
    serial: Training
    build_serial: Callable[[], Training]
    values: list[dict[str, np.ndarray]]
    gradients: list[dict[str, np.ndarray]]
    step: int = 0
    part: Any = None
    whole: Any = None
    seen: Observed | None = None
    kind: str = ""
    name: str = ""
    key: Any = None
    mine: np.ndarray = field(default_factory=lambda: np.empty(0))
    right: np.ndarray = field(default_factory=lambda: np.empty(0))
    scale: float = 1.0
    ranks: tuple[int, ...] = ()
    pairs: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    @property
    def layout(self) -> Training:
        return self.here.training

    @property
    def mesh(self) -> Mesh:
        return self.layout.mesh

    @property
    def micros(self) -> int:
        """How many micro-batches a rank's samples are cut into."""
        pipeline = self.layout.pipeline
        return self.layout.micro if pipeline is None else pipeline.schedule.micros

    @property
    def comparable(self) -> bool:
        """Of the right shape, and all finite numbers."""
        return self.mine.shape == self.right.shape and bool(np.isfinite(self.mine).all())

    def is_(self, value: Any) -> bool:
        """Whether mine is this value, but for a thousandth of the difference from the right one."""
        value = np.asarray(value)
        if value.shape != self.mine.shape or not self.comparable:
            return False
        left, difference = (np.abs(self.mine - other).max(initial=0.0) for other in (value, self.right))
        return bool(left <= EXPLAINED * difference)

    @property
    def axes(self) -> list[str]:
        """Those of more than one rank."""
        return [axis for axis, size in self.mesh.axes.items() if size > 1]

    @property
    def modules(self) -> tuple[Any, Any]:
        """The layout's and the twin's module whose output it is; None where it is on another stage."""
        if self.key is None:
            return None, None
        return tuple(dict(t.model.named_modules()).get(self.key[0]) for t in (self.layout, self.serial))

    def across(self, axis: str, x: np.ndarray) -> np.ndarray | None:
        """x of all ranks of the axis, (p, …); None where their shapes differ."""
        comm = self.mesh[axis]
        shapes = to_host(comm.allgather(asarray(np.array([[x.ndim, *x.shape, *[0] * (8 - x.ndim)]]))))
        if (shapes != shapes[0]).any() or not x.size:
            return None
        return to_host(comm.allgather(asarray(np.ascontiguousarray(x[None], np.float64))))

    def twin_now(self) -> Training:
        """The twin anew, as it was before this step."""
        other = self.build_serial()
        other.steps = self.serial.steps
        other.model.load_state_dict(self.values[-1])
        return other

    def explained_by(self, y: np.ndarray) -> bool:
        """Whether mine is this rank's block of y, an output of the twin for the whole batch."""
        start, stop, _ = self.part.rows
        block = block_of(y[start:stop], self.mine.shape, self.mesh)
        return block is not None and self.is_(block)

    def part_of(self, whole: np.ndarray) -> np.ndarray:
        """What this rank has of a parameter-like array."""
        return self.here.part_of(self.kind, self.name, whole)


def block_of(whole: np.ndarray, shape: tuple[int, ...], mesh: Mesh) -> np.ndarray | None:
    """What a rank has of an output, by its shape: all, or its block along the one dim that tp ranks share.

    returns: None where the shape is neither
    """
    if whole.shape == shape:
        return whole
    tp = mesh["tp"]
    for dim in range(whole.ndim):
        shared = (*whole.shape[:dim], whole.shape[dim] // tp.size, *whole.shape[dim + 1 :])
        if shape == shared and whole.shape[dim] % tp.size == 0:
            return np.split(whole, tp.size, axis=dim)[tp.rank]
    return None
