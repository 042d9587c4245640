"""The recorder of the rank that runs here, for what has no communicator at hand.

A context variable: virtual ranks share a process, and each has a context of its own; a thread that
is not the rank's has none. With no recorder the look-up is all that a hook costs.
"""

from contextlib import nullcontext
from contextvars import ContextVar
from typing import Any

from mpipar.trace.recorder import Recorder
from mpipar.trace.scope import Backward

_here: ContextVar[Recorder | None] = ContextVar("recorder", default=None)
recorder_here = _here.get  # () -> this rank's recorder, None while nothing is recorded


def record_here(recorder: Recorder | None) -> None:
    """In this context, scopes go to this recorder."""
    _here.set(recorder)


def scope_here(name: str) -> Any:
    """`with scope_here("optimizer"): ...` names a stretch of the program, where it is recorded."""
    recorder = recorder_here()
    return nullcontext() if recorder is None else recorder.scope(name)


def backward_here() -> Any:
    """`with backward_here() as enter: ...`; enter is None where nothing is recorded, see Backward."""
    recorder = recorder_here()
    return nullcontext() if recorder is None else Backward(recorder)
