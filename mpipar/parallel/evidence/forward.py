"""Mistakes that an output shows, or the initial value of a parameter."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from mpipar.arrays import asarray, to_host
from mpipar.nn import Dropout
from mpipar.parallel.evidence.case import Case, Said
from mpipar.parallel.evidence.reductions import REDUCTIONS
from mpipar.tensor import Tensor, no_grad


def not_finite(case: Case) -> Said:
    """nan or inf where the twin has numbers."""
    count = int((~np.isfinite(case.mine)).sum())
    return f"{count} of {case.mine.size} are nan or inf on rank {case.mesh.comm.rank}" if count else None


def other_part(case: Case) -> Said:
    """A rank has what another rank should have; or blocks are joined in another order than cut."""
    everybody = {axis: case.across(axis, case.right) for axis in case.axes}  # before any rank returns
    for axis, values in everybody.items():
        me, others = case.mesh[axis].rank, () if values is None else range(len(values))
        for r in others:
            if r != me and case.is_(values[r]):
                what = "samples" if axis == "dp" and case.kind == "output" else "part"
                return f"{axis} rank {me} has the {what} of {axis} rank {r}"
        for dim, order in _orders(case, case.mesh[axis].size):
            return f"its blocks along dim {dim} lie in the order {', '.join(map(str, order))}"
    return None


def _orders(case: Case, p: int) -> Iterator[tuple[int, list[int]]]:
    """(dim, order) for each dim along which mine is the right value with its p blocks in that order."""
    for dim, n in enumerate(case.right.shape if case.comparable else ()):
        if n % p:
            continue
        mine, right = (np.split(x, p, axis=dim) for x in (case.mine, case.right))
        order = [min(range(p), key=lambda j, m=m: np.abs(m - right[j]).max(initial=0.0)) for m in mine]
        if sorted(order) == list(range(p)) and case.is_(np.concatenate([right[j] for j in order], axis=dim)):
            yield dim, order


def other_mask(case: Case) -> Said:
    """Dropout: other places are zero, and those that are not zero in either are right."""
    _, module = case.modules
    if not isinstance(module, Dropout) or not case.comparable:
        return None
    both = (case.mine != 0) & (case.right != 0)
    if ((case.mine == 0) == (case.right == 0)).all():
        return None
    if np.abs((case.mine - case.right)[both]).max(initial=0.0) <= 1e-9 * case.scale:
        return "other places are zero: the seed, the path, the count of calls or the rows are others"
    return None


def bias_again(case: Case) -> Said:
    """The difference is a multiple of the layer's bias, the same for all samples."""
    module, _ = case.modules
    bias = None if module is None else getattr(module, "bias", None)
    if bias is None or not case.comparable or case.mine.shape[-1:] != bias.shape:
        return None
    b = to_host(bias.data)
    difference, samples = case.mine - case.right, case.mine.size // max(b.size, 1)
    times = 1 + round(float((difference * b).sum() / max(samples * (b * b).sum(), 1e-300)))
    if times == 1 or not case.is_(case.right + (times - 1) * b):
        return None
    if not times:
        return "it is not added"
    shard = getattr(getattr(module, "weight", None), "shard", None)
    if times == case.mesh["tp"].size and shard is not None and shard.dim == 1:  # then it sums over tp
        return f"it is added {times} times, once a tp rank; add it after the sum"
    return f"it is added {times} times"


def stale_weights(case: Case) -> Said:
    """An output as the layer would give it with parameters, or one of them, of an earlier step."""
    _, module = case.modules
    names = [] if module is None else [n for n, _ in module.named_parameters()]
    if not names:
        return None
    prefix = case.key[0] + "." if case.key[0] else ""
    for step in reversed(range(len(case.values) - 1)):
        earlier = {n: case.values[step][prefix + n] for n in names}
        for kept in (earlier, *({n: value} for n, value in earlier.items())):
            if case.explained_by(_output_with(case, module, kept)):
                which = " and ".join(kept)
                return f"computed with the {which} it had before step {step + 1}: a copy was kept"
    return None


def _output_with(case: Case, module: Any, values: dict[str, np.ndarray]) -> np.ndarray:
    """What the twin's module would have given with other values of some parameters."""
    parameters = dict(module.named_parameters())
    now = {n: to_host(parameters[n].data).copy() for n in values}
    _set(parameters, values)
    arguments, options = case.seen.inputs[case.key]
    with no_grad():
        y = to_host(module(*arguments, **options).data)
    _set(parameters, now)
    return y


def _set(parameters: dict[str, Any], values: dict[str, np.ndarray]) -> None:
    for name, value in values.items():
        parameters[name].data = asarray(value)


def partial_sums(case: Case) -> Said:
    """A row layer as it would be with another reduction of the ranks' parts, which the twin can compute."""
    module, p = case.modules[1], case.mesh["tp"].size
    weight = getattr(module, "weight", None)
    x = None if weight is None else next(iter(case.seen.inputs[case.key][0]), None)
    if not isinstance(x, Tensor) or weight.ndim != 2 or weight.shape[1] != x.shape[-1] or x.shape[-1] % p:
        return None
    inputs, weights = (np.split(to_host(of.data), p, axis=-1) for of in (x, weight))
    parts = np.stack([piece @ w.T for piece, w in zip(inputs, weights, strict=True)])
    bias = getattr(module, "bias", None)
    b = 0.0 if bias is None else to_host(bias.data)
    for name, reduce in REDUCTIONS.items():
        if name != "the sum" and any(case.explained_by(reduce(parts) + e) for e in (b, 0.0)):
            return f"{name} over tp, not the sum"
    return None
