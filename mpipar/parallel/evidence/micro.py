"""Mistakes with micro-batches: in their order, with an old one, in the weight of their losses."""

import numpy as np

from mpipar.parallel.evidence.case import Case, Said


def micro_order(case: Case) -> Said:
    """An output whose micro-batches are all there, but at other places."""
    found = _blocks(case)
    if found is None or sorted(found) != list(range(case.micros)):
        return None
    return f"its micro-batches lie in the order {', '.join(map(str, found))}"


def stale_activation(case: Case) -> Said:
    """An output of a micro-batch that is another's once more."""
    for micro, other in enumerate(_blocks(case) or []):
        if micro != other:
            return f"micro-batch {micro} was computed from what micro-batch {other} had left there"
    return None


def _blocks(case: Case) -> list[int] | None:
    """Which micro-batch of the right output each one of mine is; None where it is none of them."""
    m, rows = case.micros, len(case.right) if case.right.ndim else 0
    if case.kind != "output" or m < 2 or not rows or rows % m or not case.comparable:
        return None
    mine, right = (np.split(x, m) for x in (case.mine, case.right))
    found = [min(range(m), key=lambda j, x=x: np.abs(x - right[j]).max(initial=0.0)) for x in mine]
    return found if case.is_(np.concatenate([right[j] for j in found])) else None


def loss_scaled(case: Case) -> Said:
    """The loss times or over the number of micro-batches."""
    m = case.micros
    if case.kind != "loss" or m < 2:
        return None
    if case.is_(case.right / m):
        return f"1/{m} of the right value: divided by the number of micro-batches, {m}, once too often"
    if case.is_(case.right * m):
        return f"{m} times the right value: not divided by the number of micro-batches, {m}"
    return None
