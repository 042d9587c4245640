"""What `mpipar train` runs on every rank: data, training, batches, tests and checkpoints of the options."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from mpipar.arrays import asarray, to_host
from mpipar.comm import Communicator
from mpipar.data import Batch, DistributedSampler, Loader
from mpipar.errors import OptionError
from mpipar.parallel.build import build_model, build_training
from mpipar.parallel.certify import Certificate, certify
from mpipar.parallel.mesh import Mesh
from mpipar.parallel.options import Options, check
from mpipar.parallel.options_pipeline import check_pipeline
from mpipar.parallel.samples import Samples, load
from mpipar.parallel.stages import layers_of
from mpipar.parallel.training import as_input

TESTED = 2000  # samples at most
PIECE = 256  # of them at a time
EPOCHS, STEPS = 10, 200  # where nothing is said
LAYOUT = ("mesh", "order", "sequence", "schedule", "virtual_stages", "partition", "recompute", "zero")
LAYOUT += ("micro_batches", "strategy", "algorithm")  # what the serial twin has not


class Job:
    """The training that options describe, on the ranks of comm.

    training: its model, optimizer and step;   length: steps in all
    moved: by how many batches the data is ahead of the steps, where earlier epochs had another length
    samples: where they are known already
    errors: as options.check; DataError
    """

    def __init__(self, options: Options, comm: Communicator, samples: Samples | None = None) -> None:
        self.options = options
        self.samples = checked(options) if samples is None else samples
        self.mesh = Mesh(comm, **options.sizes or {"dp": comm.size}, order=options.order)
        self.length = length_of(options, len(self.samples.y))
        self.training = build_training(options, self.samples, self.mesh, self.length)
        self.moved = 0

    @property
    def position(self) -> tuple[int, int]:
        """(epoch, batches done in it)."""
        return divmod(self.training.steps + self.moved, epoch_of(self.options, len(self.samples.y)))

    def go_on(self, step: int, epoch: int, batch: int) -> None:
        """So many steps are done, up to this position in the data."""
        self.training.steps = step
        self.moved = epoch * epoch_of(self.options, len(self.samples.y)) + batch - step

    def batches(self) -> Iterator[Batch]:
        """All that are left of `length`, epoch after epoch."""
        dp, done = self.mesh["dp"], self.training.steps
        of_rank = batches(self.options, self.samples, dp.rank, dp.size, done + self.moved)
        return islice(of_rank, max(self.length - done, 0))

    def test(self) -> tuple[str, float]:
        """(what, value) on samples that were not trained on: the accuracy; of gpt the loss.

        cost: forward of at most 2000 samples; an allreduce
        """
        training, dp, x, y = self.training, self.mesh["dp"], self.samples.test_x, self.samples.test_y
        count = min(len(y), TESTED)
        mine = np.array_split(np.arange(count), dp.size)[dp.rank]
        right = np.zeros(1)
        with training.evaluating():
            for start in range(0, len(mine), PIECE):
                rows = mine[start : start + PIECE]
                right += self._score(asarray(np.asarray(x[rows])), np.asarray(y[rows]))
        total = self.mesh["dp,pp"].allreduce(asarray(right))
        what = "test loss" if self.options.model == "gpt" else "test accuracy"
        return what, float(to_host(total)[0]) / max(count, 1)

    def _score(self, x: Any, y: np.ndarray) -> float:
        """Summed over samples; 0 on a rank that has no output."""
        model, pipeline = self.training.model, self.training.pipeline
        output = model(as_input(x)) if pipeline is None else pipeline.predict(x)
        if output is None:
            return 0.0
        if self.options.model == "gpt":
            criterion = model.criterion if pipeline is None else pipeline.losses.mean
            return criterion(output, asarray(y)).item() * len(y)
        return float((to_host(output.data).argmax(axis=1) == y).sum())


def checked(options: Options) -> Samples:
    """The data of options that can be met.   errors: as Job"""
    samples = load(options)
    features = samples.x.shape[-1] if options.model == "mlp" else 0
    check(options, len(samples.y), samples.classes, features)
    check_pipeline(options, layers_of(build_model(options, samples)))
    length = length_of(options, len(samples.y))
    if options.warm_up >= length:
        raise OptionError(
            f"--warm-up {options.warm_up} leaves none of {length} steps; give {length - 1} or fewer"
        )
    return samples


def certify_job(options: Options, comm: Communicator, steps: int = 3) -> Certificate:
    """The certificate of these options' layout: in float64, against one rank without micro-batches."""
    options = replace(options, dtype="float64")
    serial = replace(options, **{name: getattr(Options, name) for name in LAYOUT})
    samples = checked(options)
    layout = Job(options, comm, samples)
    me = comm.split(comm.rank)

    def part(rank: int, size: int) -> Iterator[Batch]:
        return batches(options, samples, rank, size)

    return certify(lambda: layout.training, lambda: Job(serial, me, samples).training, part, steps=steps)


def epoch_of(options: Options, samples: int) -> int:
    """Steps that go once through the samples."""
    return samples // options.batch if options.whole_batches else -(-samples // options.batch)


def length_of(options: Options, samples: int) -> int:
    """Steps in all."""
    an_epoch = epoch_of(options, samples)
    if options.steps is not None:
        return options.steps if options.epochs is None else min(options.steps, options.epochs * an_epoch)
    if options.epochs is None and options.model == "gpt":
        return STEPS
    return (options.epochs or EPOCHS) * an_epoch


def batches(options: Options, samples: Samples, rank: int, size: int, done: int = 0) -> Iterator[Batch]:
    """What dp rank `rank` of `size` sees after `done` batches, for ever.   cost: copies the epoch's, too"""
    sampler = DistributedSampler(
        len(samples.y), rank, size, options.batch, seed=options.seed, drop_last=options.whole_batches
    )
    loader = Loader(samples.x, samples.y, sampler)
    epoch, skipped = divmod(done, len(loader))
    while True:
        loader.set_epoch(epoch)
        yield from islice(loader, skipped, None)
        epoch, skipped = epoch + 1, 0
