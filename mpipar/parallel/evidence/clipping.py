"""Mistakes in clipping: which norm it took."""

from collections.abc import Iterable

import numpy as np

from mpipar.parallel.evidence.case import Case, Said
from mpipar.parallel.here import CLIPPED


def local_norm(case: Case) -> Said:
    """Scaled by clip over the norm of what this rank has alone."""
    clip = case.layout.clip
    if case.kind != CLIPPED or not clip:
        return None
    right, mine = _norms(case)
    if not case.is_(min(1.0, clip / (mine + 1e-6)) * _unclipped(case)):
        return None
    return f"by {mine:.3g}, of this rank's own parts, not {right:.3g}, of all: sum the squares over the ranks"


def other_norm(case: Case) -> Said:
    """Scaled by something else, or not at all."""
    clips, g = (case.layout.clip, case.serial.clip), _unclipped(case) if case.kind == CLIPPED else np.zeros(0)
    if not g.any() or not case.comparable:
        return None
    scale = float((case.mine * g).sum() / (g * g).sum())
    if not case.is_(scale * g):
        return None
    if clips[0] != clips[1]:
        return f"clip={clips[0]:g}, and the serial twin has clip={clips[1]:g}"
    return f"times {scale:.3g}, where the norm {_norms(case)[0]:.3g} and clip={clips[0]:g} ask for another"


def _unclipped(case: Case) -> np.ndarray:
    return case.part_of(case.gradients[-1][case.name])


def _norms(case: Case) -> tuple[float, float]:
    """Of all gradients, and of this rank's parts of them."""
    last, mine = case.gradients[-1], {id(p): name for name, p in case.here.parameters.items()}
    whole = {id(p): name for name, p in case.serial.model.named_parameters()}
    parts = (case.here.part_of(CLIPPED, name, last[name]) for name in mine.values() if name in last)
    return _norm(last[name] for name in whole.values() if name in last), _norm(parts)


def _norm(arrays: Iterable[np.ndarray]) -> float:
    return float(np.sqrt(sum((x * x).sum() for x in arrays)))
