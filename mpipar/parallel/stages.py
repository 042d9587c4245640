"""A model cut into the stages of a pipeline: which layers, on which rank, with which values.

    GPT of 4 blocks, 3 stages        embed block 0 | block 1 block 2 | block 3 head

A layer is a link of the model's `chain()`. Only a rank's own layers are drawn: let the model have
no values (seed=None), and the other layers are recipes, which take no memory. Names and initial
values are those of the whole model, so every cut starts from the same weights.

Tied weights: where two stages on different ranks use one parameter, both have a copy, and the sum
of the gradients of both is the gradient of the parameter (Narayanan et al., SC 2021). The
copies start equal, and an allreduce ends bitwise equal, so they stay equal.
sends: an allreduce of each tied parameter's gradient between its ranks, once a step
"""

from collections.abc import Sequence
from typing import Any

from mpipar.comm import Communicator
from mpipar.errors import OptionError
from mpipar.nn import Dropout, Layer, Module, Parameter
from mpipar.schedule import by_count, by_hand, by_weight
from mpipar.tensor import Tensor

PARTITIONS = ("count", "parameters")


class Stage:
    """Layers in a row, and what repeats their dropout masks."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = list(layers)
        self._dropouts = [m for m in assemble(layers).modules() if isinstance(m, Dropout)]
        self.begin_step()

    def begin_step(self) -> None:
        """All forwards from now on are of one batch, so they count as one call of Dropout."""
        self._calls = [dropout.calls for dropout in self._dropouts]

    def __call__(self, x: Tensor, rows: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
        """x -> where its gradient is to be sent or split off, and y.

        rows: of the global batch, as nn.share_rows;   the first: x, or where that asks for no gradient
          the first layer's output that does
        """
        for dropout, calls in zip(self._dropouts, self._calls, strict=True):
            dropout.rows, dropout.calls = rows, calls
        start = x
        for layer in self.layers:
            x = layer.forward(x)
            start = start if start.requires_grad else x
        return start, x


class Ties:
    """The parameters that several ranks of a pipeline have.

    of_stage: each stage's parameters, of one model, on every rank
    shared: those of this rank;   elsewhere: of them those that another rank counts as its own
    cost: a split for each set of ranks that share some
    """

    def __init__(
        self, of_stage: dict[int, list[Parameter]], rank_of: dict[int, int], pp: Communicator
    ) -> None:
        homes: dict[Parameter, set[int]] = {}
        for stage, parameters in sorted(of_stage.items()):
            for p in parameters:
                homes.setdefault(p, set()).add(rank_of[stage])
        shared = {p: tuple(sorted(ranks)) for p, ranks in homes.items() if len(ranks) > 1}
        comms = {ranks: pp.split(0 if pp.rank in ranks else None) for ranks in dict.fromkeys(shared.values())}
        self._pp = pp
        self._sums = [(p, comms[ranks]) for p, ranks in shared.items() if pp.rank in ranks]
        self.shared = [p for p, _ in self._sums]
        self.elsewhere = {p for p, ranks in shared.items() if pp.rank in ranks[1:]}

    @property
    def seconds(self) -> float:
        """That this rank has spent in these sums."""
        return sum(comm.seconds for comm in {id(comm): comm for _, comm in self._sums}.values())

    def sum_gradients(self) -> None:
        """g ← Σ over the ranks that share it, bitwise equal on them."""
        for p, comm in self._sums:
            if p.requires_grad:
                with self._pp.scope("sum tied gradients"):
                    comm.allreduce(p.grad, out=p.grad)


def layers_of(model: Any) -> list[Layer]:
    """model.chain().   errors: OptionError for a model that has none"""
    if not hasattr(model, "chain"):
        raise OptionError(
            f"a pipeline cuts a chain of layers, and {type(model).__name__} does not tell its own; make it a "
            "Sequential, or give it a method chain() as GPT has it"
        )
    return model.chain()


def cut_layers(layers: Sequence[Layer], stages: int, partition: str | Sequence[Any] = "count") -> list[range]:
    """Each stage's layers.

    partition: "count", or "parameters": the heaviest stage has as few as can be; a list of the stages'
      numbers of layers, or of ranges as schedule.by_weight makes them of measured layer_seconds
    errors: LayoutError for fewer layers than stages, or sizes that are not all the layers; OptionError
    """
    if partition == "count":
        return by_count(len(layers), stages)
    if partition == "parameters":
        return by_weight([sum(p.size for p in layer.parameters()) for layer in layers], stages)
    if isinstance(partition, str):
        raise OptionError(
            f"partition={partition!r} is unknown; choose one of {', '.join(PARTITIONS)}, or give the number "
            "of layers of each stage as a list"
        )
    return by_hand([n if isinstance(n, int) else len(n) for n in partition], len(layers), stages)


def assemble(layers: Sequence[Layer]) -> Module:
    """A module of the layers' modules under their names in the model."""
    whole = Module()
    for layer in layers:
        for name, module in layer.modules.items():
            *path, last = name.split(".")
            place = whole
            for step in path:
                if not hasattr(place, step):
                    setattr(place, step, Module())
                place = getattr(place, step)
            setattr(place, last, module)
    return whole


def draw(part: Module, names: dict[Parameter, str], seed: int) -> None:
    """Initial values of a part of a model, by the names that its parameters have in the whole."""
    for path, module in part.named_modules():
        module.path = path
        module.seeded(seed, False)
    for p in part.parameters():
        p.name = names[p]
        if not p.drawn:
            p.draw(seed, p.name)
