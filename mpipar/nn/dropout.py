"""Dropout whose masks do not depend on the layout.

The mask of call number `calls` is drawn from (seed, "dropout", path, calls), for the *global*
batch. A rank that holds rows start..stop-1 of `total` draws all rows and keeps its own, so
four ranks drop what the serial run drops. The same where ranks share another dim than the rows.
"""

from mpipar.arrays import asarray, generator
from mpipar.errors import GraphError, OptionError, ShapeError
from mpipar.nn.module import Module
from mpipar.tensor import Tensor, dropout


class Dropout(Module):
    """y = x m/(1-p) in training, m = 0 with probability p; y = x in evaluation.

    rows: (start, stop, total), which rows (dim 0) of the global batch x holds; None: all.
      A data-parallel layout sets it before each forward, see `share_rows`
    part: (dim, rank, size), where x is block `rank` of `size` equal blocks of a dim behind the rows
    calls: training calls so far; set it back to repeat a mask (recomputation, a restart)
    cost: one draw on the host a value of the global batch, one copy to the device
    errors: OptionError for p outside [0, 1); GraphError without a seed; ShapeError for other rows
    """

    def __init__(
        self, p: float = 0.5, *, part: tuple[int, int, int] | None = None, seed: int | None = None
    ) -> None:
        if not 0 <= p < 1:
            raise OptionError(f"Dropout: p={p} is the share that is dropped; choose it from 0 up to below 1")
        self.p, self.seed, self.calls = p, None, 0
        self.rows: tuple[int, int, int] | None = None
        self.part = part
        self.initialize(seed)

    def seeded(self, seed: int, again: bool) -> None:
        if again or self.seed is None:
            self.seed, self.calls = seed, 0

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        if self.seed is None:
            raise GraphError(
                "Dropout has no seed; call initialize(seed) on the finished model, or give it seed="
            )
        start, stop, total = self.rows or (0, len(x), len(x))
        if stop - start != len(x):
            raise ShapeError(
                f"Dropout {self.path}: {len(x)} rows, but rows={self.rows} are {stop - start}; "
                "set the rows of each batch by share_rows"
            )
        source = generator(self.seed, "dropout", self.path, self.calls)
        self.calls += 1
        shape, mine = [total, *x.shape[1:]], [slice(start, stop)] + [slice(None)] * (x.ndim - 1)
        if self.part is not None:
            dim, rank, size = self.part
            mine[dim] = slice(rank * shape[dim], (rank + 1) * shape[dim])
            shape[dim] *= size
        kept = source.random(shape, dtype="float32")[tuple(mine)] >= self.p
        return dropout(x, self.p, asarray(kept))

    def describe(self) -> str:
        return f"p={self.p}"


def share_rows(model: Module, rows: tuple[int, int, int] | None) -> None:
    """Tell every Dropout of the model which rows of the global batch come next; None: all."""
    for module in model.modules():
        if isinstance(module, Dropout):
            module.rows = rows
