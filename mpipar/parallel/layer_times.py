"""How long each layer of a model computes: weights for a partition by time.

    seconds = layer_seconds(model, x, world)
    Pipeline(model, mesh["pp"], partition=by_weight(seconds, stages))

A pipeline is as fast as its slowest stage. Numbers of parameters do not tell time: an embedding
has many and computes little, attention's time grows with the square of the sequence.
"""

from statistics import median
from typing import Any

import numpy as np

from mpipar.arrays import synchronize, xp
from mpipar.comm import Communicator
from mpipar.nn import Layer
from mpipar.parallel.stages import assemble, layers_of
from mpipar.tensor import Tensor


def layer_seconds(model: Any, x: Any, comm: Communicator, repeat: int = 3) -> list[float]:
    """Forward and backward of each layer: of `repeat` times the median, of comm's ranks the slowest.

    x: a micro-batch, of the same shape on all ranks
    comm: all ranks that have to cut the model alike, so the whole mesh's
    Dropout and the loss are left out. A layer without values is drawn for the time it takes.
    cost: repeat + 1 passes through the model on every rank, the memory of one layer
    """
    names = {p: name for name, p in model.named_parameters()}
    seconds = []
    for layer in layers_of(model):
        x, taken = _timed(layer, x, names, comm, repeat)
        seconds.append(taken)
    return comm.allreduce(np.array(seconds), "max").tolist()


def _timed(layer: Layer, x: Any, names: dict[Any, str], comm: Communicator, repeat: int) -> tuple[Any, float]:
    """The layer's output, and how long it took."""
    part = assemble([layer])
    training = {module: module.training for module in part.modules()}
    undrawn = [p for p in part.parameters() if not p.drawn]
    for p in undrawn:
        p.draw(0, names[p])
    part.eval()
    passes = [_pass(layer, x, comm) for _ in range(repeat + 1)]  # the first one is to warm up
    for module, mode in training.items():
        module.training = mode
    part.zero_grad()
    for p in undrawn:
        p.data = None  # what is not this rank's takes no memory
    return passes[-1][0], median(taken for _, taken in passes[1:])


def _pass(layer: Layer, x: Any, comm: Communicator) -> tuple[Any, float]:
    synchronize()
    start = comm.wtime()
    given = Tensor(x)
    given.requires_grad = given.dtype.kind == "f"
    y = layer.forward(given)
    if y.requires_grad:
        y.backward(xp.ones_like(y.data))
    synchronize()
    return y.data, comm.wtime() - start
