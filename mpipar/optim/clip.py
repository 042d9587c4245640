"""Clipping by the global norm (Pascanu, Mikolov & Bengio, ICML 2013)."""

from collections.abc import Iterable
from typing import Any

from mpipar.arrays import xp
from mpipar.errors import OptionError
from mpipar.optim.runs import runs
from mpipar.tensor import Tensor


def grad_norm(parameters: Iterable[Tensor]) -> Any:
    """‖g‖ = √(Σ gᵢ²) over all gradients, an array () of the backend; 0 without gradients.

    cost: one sweep over the gradients, no wait for the device
    """
    squares = [xp.dot(run.g, run.g) for run in runs(_listed(parameters))]
    return xp.sqrt(sum(squares)) if squares else xp.zeros(())


def clip_grad_norm(parameters: Iterable[Tensor], max_norm: float, norm: Any = None) -> Any:
    """g ← g min(1, max_norm/(‖g‖ + 10⁻⁶)) in place, as torch.nn.utils.clip_grad_norm_.

    norm: ‖g‖ if it is known, for example summed over the ranks that share a model
    returns: ‖g‖ before clipping, an array () of the backend: float(to_host(norm)) waits for
      the device, so print it now and then, not at every step
    cost: two sweeps over the gradients; no wait for the device, so g is multiplied even where
      nothing is to be clipped
    errors: OptionError for a negative max_norm
    """
    if max_norm < 0:
        raise OptionError(f"clip_grad_norm: max_norm={max_norm} is negative; choose 0 or more")
    parameters = _listed(parameters)
    norm = grad_norm(parameters) if norm is None else norm
    scale = xp.minimum(max_norm / (norm + 1e-6), 1.0)
    for run in runs(parameters):
        xp.multiply(run.g, scale.astype(run.g.dtype), out=run.g)
    return norm


def _listed(parameters: Iterable[Tensor]) -> list[Tensor]:
    return [parameters] if isinstance(parameters, Tensor) else list(dict.fromkeys(parameters))
