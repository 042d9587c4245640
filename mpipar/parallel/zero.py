"""ZeRO: data parallelism without the copies (Rajbhandari et al., SC 2020).

Replicas keep the same optimizer states, gradients and parameters on every rank. Here each of N
ranks owns 1/N of them, stage by stage. For Ψ parameters of s bytes and an optimizer with k numbers
a parameter (SGD 0, with momentum 1, AdaGrad 1, Adam and AdamW 2), a rank keeps and sends a step:

    stage  parameters  gradients  states     bytes kept              bytes sent (ring)
    0      sΨ          sΨ         ksΨ        (2 + k) sΨ              2 sΨ (N-1)/N    data.py
    1      sΨ          sΨ         ksΨ/N      (2 + k/N) sΨ            2 sΨ (N-1)/N
    2      sΨ          sΨ/N       ksΨ/N      (1 + (1 + k)/N) sΨ      2 sΨ (N-1)/N
    3      sΨ/N        sΨ/N       ksΨ/N      (2 + k)/N sΨ + a layer  3 sΨ (N-1)/N

With AdamW in float32 stage 0 keeps 16Ψ bytes, as the paper's mix of float16 and float32 does. The
allreduce of stage 0 is a reduce-scatter and an allgather; between its halves there is room for the
optimizer, who then needs only the rank's own piece. So stages 1 and 2 cost no byte more.

    gradients  ── reduce_scatter ──▶  own piece  ── step ──▶  own piece  ── allgather ──▶  parameters

Stage 2 sums the gradients of a bucket as soon as backward has the last of them, and drops them.
Stage 3 (zero3.py) gathers the parameters before each layer's forward and backward instead of once.
"""

from collections.abc import Iterable, Sequence
from contextlib import contextmanager, nullcontext
from itertools import groupby
from typing import Any

from mpipar.comm import Communicator
from mpipar.errors import LayoutError, OptionError
from mpipar.nn import Module, Parameter
from mpipar.optim import Optimizer
from mpipar.parallel.buckets import BUCKET_BYTES
from mpipar.parallel.data import DataParallel
from mpipar.parallel.memory import memory_bytes
from mpipar.parallel.owner_sums import OwnerSums
from mpipar.parallel.sharded import Sharded
from mpipar.parallel.units import Unit, own_in_flats
from mpipar.parallel.zero3 import JustInTime


class ZeRO(Sharded):
    """`model` on each rank of `dp`, which steps its own piece of all parameters.

        zero = ZeRO(model, AdamW, world, stage=2, lr=1e-3)
        with zero.averaging(share):                # as DataParallel.averaging
            model.loss(x, y).backward()            # the mean over this rank's samples
        zero.clip_grad_norm(1.0)
        zero.step()
        zero.zero_grad()

    optimizer: a class of mpipar.optim, with its settings; schedules work on a ZeRO as on an optimizer
    parameters: as the optimizer takes them, or groups of them; by default all of the model
    bucket_bytes: the least size of a bucket, stages 1 and 2;   modules: the layers of stage 3, see zero3.py
    alone: parameters that are summed for themselves, stages 1 and 2: two stages of a pipeline that share
      one cut it alike then, so that their copies stay bitwise equal
    algorithm: of reduce_scatter and allgather
    unused: what a parameter without a gradient is: an "error", or "zero"
    Frozen parameters are whole on every rank. The model is whole on every rank when this begins.
    Micro-batches, as with DataParallel: backward for all but the last before `averaging`, where gradients
    are kept whole and nothing is sent. Or, in stages 2 and 3, in an `averaging` each: they add up in
    the pieces, and each costs a reduce-scatter.
    In stage 3 all ranks call the model equally often, except that one with share 0 need not. Outside of
    layers parameters have values only inside `gathered()`.
    errors: as DataParallel and the optimizer; LayoutError for a step without averaged gradients
    """

    def __init__(
        self,
        model: Module,
        optimizer: type[Optimizer],
        dp: Communicator,
        stage: int = 1,
        *,
        parameters: Iterable[Any] | None = None,
        modules: Sequence[Module] | None = None,
        alone: Iterable[Parameter] = (),
        bucket_bytes: int = BUCKET_BYTES,
        algorithm: str = "auto",
        unused: str = "error",
        **settings: Any,
    ) -> None:
        if stage not in (1, 2, 3):
            raise OptionError(f"ZeRO: stage={stage!r}; choose 1, 2 or 3, or DataParallel for 0")
        self.model, self.stage, self.algorithm, self.unused = model, stage, algorithm, unused
        model.zero_grad()
        buckets = DataParallel(model, dp, bucket_bytes=bucket_bytes, unused=unused).buckets
        names = {id(p): p.name or name for name, p in model.named_parameters()}
        self.layers = JustInTime(model, dp, modules, algorithm) if stage == 3 else None
        if self.layers is not None:
            self.layers.own(names)
            units = self.layers.units
        else:
            units = [Unit(row, dp) for bucket in buckets for row in _rows(bucket.parameters, set(alone))]
            own_in_flats(units, names, with_gradients=stage == 1)
        given = model.parameters() if parameters is None else parameters
        super().__init__(units, dp, given, optimizer, settings)

    def __call__(self, *inputs: Any) -> Any:
        return self.model(*inputs)

    @contextmanager
    def averaging(self, share: float | None = None):
        """At its end each rank has, of its piece, the gradient of the mean over the global batch.

        share: as DataParallel.averaging
        cost: a reduce_scatter a bucket or layer; in stages 2 and 3 during the backward inside, one only
        """
        share = 1 / self.comm.size if share is None else share
        sums = OwnerSums(self.units, self.comm, share, self.algorithm)
        passes = self.layers.passes if self.layers is not None else -1
        with sums.during_backward() if self.stage > 1 else nullcontext():
            yield
        with self.comm.scope("average gradients"):
            if self.layers is not None and share == 0 and passes == self.layers.passes:
                self.layers.take_part(sums.leave)
            self._check(sums.waiting, share)
            sums.finish()
        if self.layers is not None:
            self.layers.release_all()

    def average_gradients(self, share: float | None = None) -> None:
        """`averaging` after backward: until here the gradients were whole on each rank.   share: as there"""
        with self.averaging(share):
            pass

    def step(self) -> None:
        """The optimizer steps the own piece; then all ranks gather all pieces, in stage 3 just in time."""
        if not all(unit.summed for unit in self.units):
            raise LayoutError("ZeRO.step: gradients not averaged; call backward inside averaging first")
        self.optimizer.step()
        self.gather()

    def gather(self) -> None:
        """All ranks' pieces to all ranks, except in stage 3.   cost: an allgather a bucket"""
        with self.comm.scope("gather parameters"):
            for unit in self.units if self.stage < 3 else ():
                self.comm.allgather(unit.data, self.algorithm, out=unit.row)

    def zero_grad(self) -> None:
        """Forget the gradients; the next backward writes them anew.   cost: no memory is touched."""
        self.model.zero_grad()
        self.optimizer.zero_grad()
        for unit in self.units:
            unit.summed = False

    def gathered(self):
        """Inside, all parameters are whole on all ranks; what all ranks write into them alike is kept.

        cost: in stage 3 an allgather and the memory of all parameters
        """
        return nullcontext() if self.layers is None else self.layers.gathered()

    def memory_bytes(self) -> dict[str, int]:
        """Of parameters, gradients, states and gathered layers that this rank keeps now, see memory.py."""
        rooms = [] if self.layers is None else self.layers.rooms
        return memory_bytes(self.model, self.optimizer, self.units, rooms)

    def _check(self, waiting: list[Unit], share: float) -> None:
        rank = self.comm.rank
        missing = [p for unit in waiting for p in unit.parameters if p.grad is None]
        if missing and share > 0 and self.unused == "error":
            raise LayoutError(
                f"ZeRO: {missing[0].name or missing[0]} has no gradient on rank {rank}; call backward "
                "first, and freeze what the loss never uses (requires_grad=False), or pass unused='zero'"
            )
        if self.stage == 1 and any(unit.summed for unit in self.units):
            raise LayoutError(
                "ZeRO stage 1: gradients averaged twice in a step; call zero_grad after each step, and "
                "average once, after the last micro-batch"
            )


def _rows(parameters: list[Parameter], alone: set[Parameter]) -> list[list[Parameter]]:
    """Neighbours together, but each of `alone` in a row of its own."""
    return [list(row) for _, row in groupby(parameters, key=lambda p: id(p) if p in alone else 0)]
