"""A whole number divided in proportion to weights, as seats are among parties."""

import math
from collections.abc import Sequence

from mpipar.errors import OptionError


def proportional(total: int, weights: Sequence[float]) -> list[int]:
    """Whole numbers that add up to `total`, each less than 1 off total · wᵢ / Σ w.

    By largest remainders (Hamilton's method): all quotas are rounded down, and what is left goes to
    the largest fractions, of equal ones to the first. Where the weights are equal this is how
    `numpy.array_split` cuts.   errors: OptionError for weights that are no weights
    """
    check_weights(weights)
    quotas = [total * w / math.fsum(weights) for w in weights]
    counts = [math.floor(q) for q in quotas]
    by_fraction = sorted(range(len(weights)), key=lambda i: counts[i] - quotas[i])
    for i in by_fraction[: total - sum(counts)]:
        counts[i] += 1
    return counts


def check_weights(weights: Sequence[float]) -> None:
    """errors: OptionError unless all are finite and from 0 on, and one is above"""
    if not all(0 <= w < math.inf for w in weights) or not any(weights):
        raise OptionError(
            f"weights={list(weights)}: each must be a finite number from 0 on, and one above 0; give "
            "samples a second, as parallel.measure_speeds returns them"
        )
