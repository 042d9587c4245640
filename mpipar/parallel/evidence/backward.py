"""Mistakes that a gradient shows, or the loss, or a parameter after the update."""

import numpy as np

from mpipar.arrays import asarray, to_host
from mpipar.data import Batch
from mpipar.nn import Parameter
from mpipar.parallel.evidence.case import EXPLAINED, Case, Said
from mpipar.parallel.evidence.reductions import REDUCTIONS
from mpipar.parallel.shards import named

ROUNDING = 1e-5  # what a few operations in float32 do


def unused(case: Case) -> Said:
    """A gradient of zeros."""
    if case.kind != "gradient" or not case.comparable or case.mine.any() or not case.mine.size:
        return None
    return "it is zero here: the loss does not use the parameter"


def factor(case: Case) -> Said:
    """mine = c · right, where c is the size of an axis, or one over it."""
    c = _ratio(case)
    if c is None:
        return None
    everywhere = all(
        np.abs(mine - c * right).max(initial=0.0) <= 1e-6 * np.abs(right).max(initial=0.0)
        for mine, right in case.pairs
    )
    for axis in sorted(case.axes, key=lambda axis: axis != ("dp" if everywhere else "tp")):
        p = case.mesh.axes[axis]
        if abs(c - p) < 1e-4 * p:
            if axis == "dp" and case.kind == "gradient":
                return f"{p} times the right value: the sum over dp is not divided by {p}"
            return f"{p} times the right value: summed over {axis} once too often"
        if abs(c * p - 1) < 1e-4:
            return f"1/{p} of the right value: divided by {axis}={p} once too often, or no sum over {axis}"
    return None


def _ratio(case: Case) -> float | None:
    """c of mine = c · right."""
    square = float((case.right**2).sum())
    if not case.comparable or not square:
        return None
    c = float((case.mine * case.right).sum()) / square
    return c if case.is_(c * case.right) else None


def multiple(case: Case) -> Said:
    """mine = c · right, of one number only where c is a whole number or one over it."""
    c = _ratio(case)
    if c is None:
        return None
    labels = 0 if case.whole is None else case.whole.y.size
    if abs(c - labels) < 1e-4 * labels:
        return f"{labels} times the right value, as many as there are labels: their sum, not the mean"
    whole = max(abs(c), 1 / max(abs(c), 1e-300))
    if case.right.size == 1 and abs(whole - round(whole)) > 1e-4:
        return None
    return f"{c:.6g} times the right value"


def stale(case: Case) -> Said:
    """The value of an earlier step, or the gradient of an earlier step added to this one's."""
    if case.kind == "parameter":
        for step in reversed(range(len(case.values) - 1)):
            if case.is_(case.part_of(case.values[step][case.name])):
                return f"its value before step {step + 1}: this rank did not update it"
    if case.kind == "gradient":
        for step, earlier in enumerate(case.gradients[:-1], 1):
            if case.name not in earlier:
                continue
            g = case.part_of(earlier[case.name])
            if case.is_(g):
                return f"the gradient of step {step}"
            if case.is_(case.right + g):
                return f"the gradient of step {step} is still in it: zero_grad is missing"
    return None


def tied(case: Case) -> Said:
    """A gradient as one use of a tied parameter alone gives it."""
    parameters = named(case.serial.model)
    names = [n for n, p in parameters.items() if case.kind == "gradient" and p is parameters[case.name]]
    if len(names) < 2:
        return None
    other = case.twin_now()
    modules = dict(other.model.named_modules())
    for name in names[1:]:
        path, _, attribute = name.rpartition(".")
        setattr(modules[path], attribute, Parameter(asarray(case.values[-1][name].copy()), name=name))
    other.backward(case.whole)
    for name in names:
        if case.is_(case.part_of(to_host(named(other.model)[name].grad))):
            return f"only what its use as {name} adds, of {' and '.join(names)}"
    return None


def not_summed(case: Case) -> Said:
    """The ranks of an axis have different values, whose sum, or weighted mean, is the right one."""
    share = np.array([1.0 if case.part is None else case.part.share])
    gathered = {  # before any rank returns
        axis: [case.across(axis, x) for x in (case.mine, case.right, share)] for axis in case.axes
    }
    for axis, (values, rights, shares) in gathered.items():
        if values is None or rights is None or not np.allclose(rights, rights[0]):
            continue
        tolerance = EXPLAINED * np.abs(values - rights).max()
        if not np.abs(values - values[0]).max() > tolerance:
            continue
        if any(np.abs(values.sum(axis=0) - rights[0] - e).max() <= tolerance for e in _extra(case, axis)):
            return f"each {axis} rank has its own part, and their sum over {axis} is the right value"
        weighted = (values * shares.reshape(-1, *[1] * (values.ndim - 1))).sum(axis=0)
        if axis == "dp" and np.abs(weighted - rights[0]).max() <= tolerance:
            return "each dp rank has the mean over its own samples, and their mean over dp is right"
    return None


def _extra(case: Case, axis: str) -> list[np.ndarray | float]:
    """What the sum of all ranks' values has too much: nothing, or the bias that each has added."""
    bias = getattr(case.modules[0], "bias", None)
    return [0.0] if bias is None else [0.0, (case.mesh[axis].size - 1) * to_host(bias.data)]


def reduced_over_dp(case: Case) -> Said:
    """A gradient as another reduction of the dp ranks' gradients gives it; the twin computes these."""
    if case.kind != "gradient":
        return None
    other, part = case.twin_now(), case.part
    if len(part.y):
        other.backward(Batch(part.x, part.y, 1.0, part.rows))
    p = named(other.model)[case.name]
    g = case.part_of(np.zeros(p.shape) if p.grad is None else to_host(p.grad))
    parts, shares = case.across("dp", g), case.across("dp", np.array([part.share]))
    if parts is None:  # ZeRO's pieces, or of another stage
        return None
    weighted = parts * shares.reshape(-1, *[1] * g.ndim)
    for name, reduce in REDUCTIONS.items():
        if case.is_(reduce(parts)):
            note = "; give averaging the ranks' shares" if name == "the mean" else ""
            return f"{name} of the dp ranks' gradients, not the mean weighted by their samples{note}"
        if name != "the sum" and case.is_(reduce(weighted)):
            return f"{name} of the dp ranks' weighted gradients, not the sum"
    return None


def rounding(case: Case) -> Said:
    """Far more than float64's rounding, and as little as float32's."""
    if not case.comparable:
        return None
    worst = float(np.abs(case.mine - case.right).max(initial=0.0)) / case.scale
    if worst > ROUNDING:
        return None
    return f"{worst:.0e} is as much as float32 rounds: something is not computed in float64"
