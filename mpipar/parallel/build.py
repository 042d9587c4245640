"""Options -> model, pipeline, optimizer, schedule of the learning rate: a Training."""

from typing import Any

from mpipar.arrays import asarray
from mpipar.comm import Communicator
from mpipar.nn import CNN, GPT, MLP, Module, Parts
from mpipar.optim import SGD, AdaGrad, Adam, AdamW, CosineLR, Optimizer, Schedule
from mpipar.parallel.layer_times import layer_seconds
from mpipar.parallel.mesh import Mesh
from mpipar.parallel.models import parts_of
from mpipar.parallel.options import LEARNING_RATES, Options
from mpipar.parallel.options_pipeline import micros_of, partition_of, schedule_of
from mpipar.parallel.pipeline import Pipeline
from mpipar.parallel.samples import Samples
from mpipar.parallel.stages import layers_of
from mpipar.parallel.training import Training
from mpipar.parallel.zero import ZeRO

OPTIMIZERS = {"sgd": SGD, "momentum": SGD, "adagrad": AdaGrad, "adam": Adam, "adamw": AdamW}


def build_training(options: Options, samples: Samples, mesh: Mesh, length: int) -> Training:
    """What trains this rank's part for `length` steps.   Collective"""
    parts, pipeline = parts_of(mesh, options.sequence), None
    if mesh.axes["pp"] > 1:
        pipeline = build_pipeline(options, samples, mesh, build_model(options, samples, parts))
        model = pipeline.model
    else:
        model = build_model(options, samples, parts, options.seed)
    optimizer = build_optimizer(options, model, mesh["dp"], [] if pipeline is None else pipeline.ties.shared)
    return Training(
        model,
        optimizer,
        mesh,
        micro=micros_of(options),
        clip=options.clip,
        schedule=build_schedule(options, optimizer, length),
        pipeline=pipeline,
        **({} if options.zero else {"strategy": options.strategy, "algorithm": options.algorithm}),
    )


def build_model(
    options: Options, samples: Samples, parts: Parts | None = None, seed: int | None = None
) -> Module:
    """parts: where its layers come from;   seed: of its values; None: it has none yet, nor takes memory"""
    common = {"seed": seed, "dtype": options.dtype}
    if options.model == "cnn":
        return CNN(samples.x.shape[1:], samples.classes, **common)
    common["parts"] = Parts() if parts is None else parts
    if options.model == "mlp":
        return MLP([samples.x.shape[1], *options.hidden(), samples.classes], **common)
    sizes = {name: getattr(options, name) for name in ("context", "width", "layers", "heads", "dropout")}
    return GPT(samples.classes, **sizes, **common)


def build_pipeline(options: Options, samples: Samples, mesh: Mesh, model: Module) -> Pipeline:
    """This rank's stages of a model without values."""
    schedule = schedule_of(options)
    size = options.batch // (mesh.axes["dp"] * schedule.micros)

    def seconds() -> list[float]:
        return layer_seconds(model, asarray(samples.x[:size]), mesh.comm)

    partition = partition_of(options, layers_of(model), schedule.stages, seconds)
    return Pipeline(
        model, mesh["pp"], schedule, partition=partition, recompute=options.recompute, seed=options.seed
    )


def build_optimizer(options: Options, model: Module, dp: Communicator, shared: Any = ()) -> Optimizer | ZeRO:
    """shared: parameters that other stages have, too"""
    lr = LEARNING_RATES[options.optimizer] if options.lr is None else options.lr
    settings = {"lr": lr, "momentum": 0.9} if options.optimizer == "momentum" else {"lr": lr}
    kind = OPTIMIZERS[options.optimizer]
    if options.zero:
        return ZeRO(model, kind, dp, options.zero, alone=shared, **settings)
    return kind(model.parameters(), **settings)


def build_schedule(options: Options, optimizer: Optimizer | ZeRO, total: int) -> Schedule | None:
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
