"""Which samples a rank sees, so that any number of ranks sees what one would.

The rule, for training and evaluation alike:

1. all ranks make the same permutation of 0..length-1, keyed by (seed, epoch);
2. global batch b is its slice [b·B, (b+1)·B); the last one may be shorter;
3. rank r takes the r-th part of each global batch, cut as `numpy.array_split` cuts: the first
   (B mod size) ranks take one sample more. With `weights` the parts are in proportion to them,
   see shares.py.

So no sample is lost and none is counted twice, and the ranks' parts in rank order *are* the
serial run's batch. Parts may be unequal, and empty where a batch has fewer samples than there
are ranks: a mean over the global batch must weight each rank's mean by its share. (PyTorch's
DistributedSampler repeats samples instead, to make the parts equal.)
"""

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mpipar.arrays import generator
from mpipar.data.shares import check_weights, proportional
from mpipar.errors import OptionError


@dataclass
class DistributedSampler:
    """The batches of one rank, as arrays of sample numbers; see the rule above.

    length: samples of the data set
    batch_size: samples of a *global* batch, over all ranks
    drop_last: leave out the last batch if it is shorter than batch_size
    weights: one a rank, the same on all ranks, as the samples a second that each computes
    len(sampler): global batches an epoch, the same number on every rank
    cost: one permutation of `length` numbers an epoch, no messages
    errors: OptionError for sizes that make no batch
    """

    length: int
    rank: int
    size: int
    batch_size: int
    shuffle: bool = True
    seed: int = 0
    drop_last: bool = False
    epoch: int = 0
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        for name in ("length", "rank", "size", "batch_size"):
            value = getattr(self, name)
            try:
                setattr(self, name, operator.index(value))
            except TypeError:
                raise OptionError(f"{name}={value!r} is not a whole number; give an int") from None
        if self.size < 1 or not 0 <= self.rank < self.size:
            raise OptionError(
                f"rank={self.rank} is not one of {self.size} ranks; ranks count from 0 to size - 1"
            )
        if self.length < 1 or self.batch_size < 1:
            raise OptionError(f"length={self.length}, batch_size={self.batch_size}: both must be at least 1")
        if self.drop_last and self.length < self.batch_size:
            raise OptionError(
                f"drop_last=True leaves no batch: batch_size={self.batch_size} exceeds "
                f"length={self.length}; choose a smaller batch or drop_last=False"
            )
        if self.weights is not None:
            if len(self.weights) != self.size:
                raise OptionError(f"{len(self.weights)} weights for {self.size} ranks; give one a rank")
            check_weights(self.weights)

    def set_epoch(self, epoch: int) -> None:
        """Shuffle anew: the next iteration uses the permutation of this epoch."""
        self.epoch = epoch

    def permutation(self) -> np.ndarray:
        """The order of all samples in this epoch, the same on every rank."""
        if not self.shuffle:
            return np.arange(self.length)
        return generator(self.seed, "shuffle", self.epoch).permutation(self.length)

    def rows(self, batch: int) -> tuple[int, int, int]:
        """(start, stop, total): rows start..stop-1 of the `total` of this batch are ours."""
        total = min(self.batch_size, self.length - batch * self.batch_size)
        if self.weights is not None:
            counts = proportional(total, self.weights)
            start = sum(counts[: self.rank])
            return start, start + counts[self.rank], total
        each, more = divmod(total, self.size)
        start = self.rank * each + min(self.rank, more)
        return start, start + each + (self.rank < more), total

    def __len__(self) -> int:
        full, rest = divmod(self.length, self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[np.ndarray]:
        order = self.permutation()
        for batch in range(len(self)):
            start, stop, _ = self.rows(batch)
            first = batch * self.batch_size
            yield order[first + start : first + stop]
