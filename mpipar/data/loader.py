"""Batches of a rank, gathered ahead of time on a thread if asked.

While the model computes on batch b, a thread copies the samples of b+1 … b+prefetch together
on the host (NumPy's copies release the interpreter lock). The copy to the device is made by
the rank's own thread, because it belongs in that thread's stream.
"""

import queue
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from mpipar.arrays import asarray
from mpipar.data.sampler import DistributedSampler
from mpipar.errors import DataError, OptionError


class Batch(NamedTuple):
    """This rank's part of a global batch: `for x, y, share, rows in loader`.

    x, y: arrays of the backend, possibly with no rows
    share: our samples over the global batch's, the weight of our mean in the global mean
    rows: (start, stop, total), our rows of the global batch, as `nn.share_rows` wants them
    """

    x: Any
    y: Any
    share: float
    rows: tuple[int, int, int]


class MicroBatch(NamedTuple):
    """A part of a Batch.   weight: its samples over the Batch's;   rows: as the Batch's"""

    x: Any
    y: Any
    weight: float
    rows: tuple[int, int, int]


def micro_batches(batch: Batch, count: int) -> list[MicroBatch]:
    """`count` parts of a batch, cut as `numpy.array_split` cuts; the last ones may be empty.

    Σ weight · (gradient of the mean over the part) is the gradient of the mean over the batch.
    """
    if count < 1:
        raise OptionError(f"micro_batches: count={count}; a batch has at least 1 part")
    first, _, total = batch.rows
    rows, parts = len(batch.y), []
    for i in range(count):
        start, stop = (k * (rows // count) + min(k, rows % count) for k in (i, i + 1))
        weight, place = (stop - start) / max(rows, 1), (first + start, first + stop, total)
        parts.append(MicroBatch(batch.x[start:stop], batch.y[start:stop], weight, place))
    return parts


class Loader:
    """The batches of `sampler`, taken from the host arrays x and y.

    x, y: arrays or memory maps with one sample a row
    prefetch: batches gathered ahead on a thread; 0 gathers each one when it is asked for
    cost: a copy of each batch on the host, one to the device; prefetch + 1 batches of memory
    errors: DataError for x, y and sampler of different lengths; what the thread raises is
        raised where the batch is asked for
    """

    def __init__(self, x: Any, y: Any, sampler: DistributedSampler, *, prefetch: int = 0) -> None:
        if not len(x) == len(y) == sampler.length:
            raise DataError(
                f"x has {len(x)} samples, y {len(y)} and the sampler {sampler.length}; "
                "make the sampler with length=len(x), and give each sample one label"
            )
        if prefetch < 0:
            raise OptionError(f"prefetch={prefetch} is negative; 0 turns it off")
        self.x, self.y, self.sampler, self.prefetch = x, y, sampler, prefetch

    def __len__(self) -> int:
        """Global batches an epoch."""
        return len(self.sampler)

    def set_epoch(self, epoch: int) -> None:
        """See DistributedSampler.set_epoch; batches already gathered ahead are not changed."""
        self.sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[Batch]:
        gathered = ((self.x[rows], self.y[rows]) for rows in self.sampler)
        if self.prefetch:
            gathered = ahead(gathered, self.prefetch)
        for number, (x, y) in enumerate(gathered):
            start, stop, total = rows = self.sampler.rows(number)
            yield Batch(asarray(np.asarray(x)), asarray(np.asarray(y)), (stop - start) / total, rows)


def ahead(items: Iterator[Any], count: int) -> Iterator[Any]:
    """The same items, up to `count` of them made ahead by a thread.

    The thread ends when the items do, when one of them raises (raised here), or when the
    iterator is closed or forgotten.
    """
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(count)
    closed = threading.Event()
    threading.Thread(target=_fill, args=(items, ready, closed), name="mpipar prefetch", daemon=True).start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        closed.set()


def _fill(items: Iterator[Any], ready: "queue.Queue[tuple[str, Any]]", closed: threading.Event) -> None:
    try:
        for item in items:
            if not _put(ready, ("item", item), closed):
                return
        _put(ready, ("end", None), closed)
    except BaseException as error:
        _put(ready, ("error", error), closed)


def _put(ready: "queue.Queue[tuple[str, Any]]", entry: tuple[str, Any], closed: threading.Event) -> bool:
    while not closed.is_set():
        try:
            # a timeout, because a closed consumer takes nothing any more
            ready.put(entry, timeout=0.05)
            return True
        except queue.Full:
            continue
    return False
