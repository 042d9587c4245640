"""A module's call as an event of the trace: scope "forward/layers.1.self_attn".

The outermost call opens "forward", below whatever scopes the program has opened itself. Modules
called inside are named as `named_modules` of the outermost one names them; one in two places has its
first name; one that is not an attribute of any module has its class's name after its caller's.
"""

from typing import Any

from mpipar.tensor.engine import computing
from mpipar.trace import Recorder


def forward_recorded(module: Any, recorder: Recorder, args: tuple, kwargs: dict[str, Any]) -> Any:
    """module.forward(*args, **kwargs) as an event.   cost: about 1 µs"""
    model, outer = recorder.model, recorder.scope_path
    if model is None:
        if module.trace_name is None:
            _name_all(module)
        recorder.model = module, recorder.below("forward")
    elif module.trace_name is None:
        _name_late(module, model[0])
    name, root = module.trace_name, recorder.model[1]
    recorder.scope_path = f"{root}/{name}" if name else root
    token = None if computing.get() is None else computing.set(name)  # None inside no_grad
    seq, start = recorder.begin(), recorder.clock()
    try:
        return module.forward(*args, **kwargs)
    finally:
        recorder.scope_ended(seq, start)
        recorder.scope_path, recorder.model = outer, model
        if token is not None:
            computing.reset(token)


def _name_all(model: Any) -> None:
    """Names for the model, and for all in it that have none or were models on their own."""
    for name, module in model.named_modules(model.path):
        module.trace_name = module.trace_name or name


def _name_late(module: Any, model: Any) -> None:
    """A name for a module that the model has got since, or that is no attribute in it."""
    _name_all(model)
    if module.trace_name is None:
        caller = computing.get()
        module.trace_name = f"{caller}.{type(module).__name__}" if caller else type(module).__name__
