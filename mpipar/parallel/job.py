"""Options -> data, model, optimizer, batches: what `mpipar train` runs on every rank."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from mpipar.arrays import asarray, to_host
from mpipar.comm import Communicator
from mpipar.data import Batch, DistributedSampler, Loader
from mpipar.errors import OptionError
from mpipar.nn import CNN, Module
from mpipar.optim import SGD, AdaGrad, Adam, AdamW, CosineLR, Optimizer, Schedule
from mpipar.parallel.certify import Certificate, certify
from mpipar.parallel.mesh import Mesh
from mpipar.parallel.models import gpt, mlp
from mpipar.parallel.options import LEARNING_RATES, Options, check
from mpipar.parallel.samples import Samples, load
from mpipar.parallel.training import Training, as_input
from mpipar.tensor import no_grad

OPTIMIZERS = {"sgd": SGD, "adagrad": AdaGrad, "adam": Adam, "adamw": AdamW}
TESTED = 2000  # samples at most
PIECE = 256  # of them at a time
EPOCHS, STEPS = 10, 200  # where nothing is said


class Job:
    """The training that options describe, on the ranks of comm.

    training: its model, optimizer and step;   length: steps in all
    samples: where they are known already
    errors: as options.check; DataError
    """

    def __init__(self, options: Options, comm: Communicator, samples: Samples | None = None) -> None:
        self.options = options
        self.samples = checked(options) if samples is None else samples
        self.mesh = Mesh(comm, **options.sizes or {"dp": comm.size}, order=options.order)
        self.length = length_of(options, len(self.samples.y))
        model = build_model(options, self.samples, self.mesh)
        optimizer = build_optimizer(options, model)
        self.training = Training(
            model,
            optimizer,
            self.mesh,
            micro=options.micro_batches,
            clip=options.clip,
            schedule=build_schedule(options, optimizer, self.length),
            strategy=options.strategy,
            algorithm=options.algorithm,
        )

    def batches(self) -> Iterator[Batch]:
        """All `length` of them, epoch after epoch."""
        dp = self.mesh["dp"]
        return islice(batches(self.options, self.samples, dp.rank, dp.size), self.length)

    def test(self) -> tuple[str, float]:
        """(what, value) on samples that were not trained on: the accuracy; of gpt the loss.

        cost: forward of at most 2000 samples; an allreduce
        """
        model, dp, x, y = self.training.model, self.mesh["dp"], self.samples.test_x, self.samples.test_y
        count = min(len(y), TESTED)
        mine = np.array_split(np.arange(count), dp.size)[dp.rank]
        right = np.zeros(1)
        model.eval()
        with no_grad():
            for start in range(0, len(mine), PIECE):
                rows = mine[start : start + PIECE]
                right += self._score(model, asarray(np.asarray(x[rows])), np.asarray(y[rows]))
        model.train()
        total = dp.allreduce(asarray(right))
        what = "test loss" if self.options.model == "gpt" else "test accuracy"
        return what, float(to_host(total)[0]) / max(count, 1)

    def _score(self, model: Module, x: Any, y: np.ndarray) -> float:
        if self.options.model == "gpt":
            return model.loss(x, asarray(y)).item() * len(y)
        return float((to_host(model(as_input(x)).data).argmax(axis=1) == y).sum())


def checked(options: Options) -> Samples:
    """The data of options that can be met.   errors: as Job"""
    samples = load(options)
    features = samples.x.shape[-1] if options.model == "mlp" else 0
    check(options, len(samples.y), samples.classes, features)
    length = length_of(options, len(samples.y))
    if options.warm_up >= length:
        raise OptionError(
            f"--warm-up {options.warm_up} leaves none of {length} steps; give {length - 1} or fewer"
        )
    return samples


def certify_job(options: Options, comm: Communicator, steps: int = 3) -> Certificate:
    """The certificate of these options' layout: in float64, against one rank without micro-batches."""
    options = replace(options, dtype="float64")
    alone = {"mesh": "", "order": Options.order, "sequence": False, "micro_batches": 1}
    serial = replace(options, **alone, strategy="flat", algorithm="auto")
    samples = checked(options)
    layout = Job(options, comm, samples)
    me = comm.split(comm.rank)

    def part(rank: int, size: int) -> Iterator[Batch]:
        return batches(options, samples, rank, size)

    return certify(lambda: layout.training, lambda: Job(serial, me, samples).training, part, steps=steps)


def length_of(options: Options, samples: int) -> int:
    """Steps in all."""
    an_epoch = -(-samples // options.batch)
    if options.steps is not None:
        return options.steps if options.epochs is None else min(options.steps, options.epochs * an_epoch)
    if options.epochs is None and options.model == "gpt":
        return STEPS
    return (options.epochs or EPOCHS) * an_epoch


def batches(options: Options, samples: Samples, rank: int, size: int) -> Iterator[Batch]:
    """What dp rank `rank` of `size` sees, for ever."""
    sampler = DistributedSampler(len(samples.y), rank, size, options.batch, seed=options.seed)
    loader, epoch = Loader(samples.x, samples.y, sampler), 0
    while True:
        loader.set_epoch(epoch)
        yield from loader
        epoch += 1


def build_model(options: Options, samples: Samples, mesh: Mesh) -> Module:
    common = {"seed": options.seed, "dtype": options.dtype}
    if options.model == "mlp":
        return mlp([samples.x.shape[1], *options.hidden(), samples.classes], mesh, **common)
    if options.model == "cnn":
        return CNN(samples.x.shape[1:], samples.classes, **common)
    sizes = {name: getattr(options, name) for name in ("context", "width", "layers", "heads", "dropout")}
    return gpt({"vocabulary": samples.classes, **sizes, **common}, mesh, options.sequence)


def build_optimizer(options: Options, model: Module) -> Optimizer:
    lr = LEARNING_RATES[options.optimizer] if options.lr is None else options.lr
    if options.optimizer == "momentum":
        return SGD(model.parameters(), lr=lr, momentum=0.9)
    return OPTIMIZERS[options.optimizer](model.parameters(), lr=lr)


def build_schedule(options: Options, optimizer: Optimizer, total: int) -> Schedule | None:
    """Of a training of `total` steps; None for a constant rate."""
    warmup = options.warm_up
    if options.schedule_lr == "cosine":
        return CosineLR(optimizer, total, warmup)
    if options.schedule_lr == "step":
        return Schedule(optimizer, lambda t: _warm(t, warmup) * _steps(t, total))
    return Schedule(optimizer, lambda t: _warm(t, warmup)) if warmup else None


def _warm(t: int, warmup: int) -> float:
    return min((t + 1) / warmup, 1.0) if warmup else 1.0


def _steps(t: int, total: int) -> float:
    return 0.1 ** ((2 * t >= total) + (4 * t >= 3 * total))
