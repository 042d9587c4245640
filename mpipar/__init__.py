"""mpipar: distributed training that you can read, watch, check and predict.

import mpipar as mp
world = mp.world()                       # this rank and its communicator
y = world.allreduce(x, algorithm="ring")
model = mp.nn.MLP([64, 128, 64, 10], seed=0)
"""

import importlib
from typing import Any

from mpipar import failure

failure.install()  # first, so that a wrong MPIPAR_BACKEND is one sentence and no traceback

__version__ = "0.1.0"

# name -> the package it comes from; a package that is not used is not imported
_PACKAGES = ("arrays", "comm", "data", "nn", "optim", "parallel", "schedule", "tensor", "trace", "view")
_MODULES = {"virtual": "comm.virtual"}  # modules that are found by a short name
_NAMES = {
    "ANY_SOURCE": "comm",
    "ANY_TAG": "comm",
    "Communicator": "comm",
    "Tensor": "tensor",
    "arguments": "view",
    "no_grad": "tensor",
    "world": "comm",
}
__all__ = [*_PACKAGES, *_MODULES, *_NAMES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"mpipar.{name}")
    if name in _MODULES:
        return importlib.import_module(f"mpipar.{_MODULES[name]}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"mpipar.{_NAMES[name]}"), name)
    raise AttributeError(f"mpipar has no {name!r}; it offers {', '.join(__all__)}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
