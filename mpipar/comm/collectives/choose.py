"""Which algorithm for how many bytes on how many ranks: the one with the least predicted time.

The formulas are those of the algorithms' own docstrings, in seconds for n bytes on p ranks.
For few bytes the number of messages decides, for many the bytes of the busiest rank.
"""

from collections.abc import Callable
from math import ceil, log2

from mpipar.comm.network import Network
from mpipar.errors import OptionError

Cost = Callable[[int, int, Network], float]


def _naive(n: int, p: int, net: Network) -> float:
    return 2 * (p - 1) * (net.alpha + n * net.beta) + (p - 1) * n * net.gamma


def _ring(n: int, p: int, net: Network) -> float:
    return 2 * (p - 1) * (net.alpha + n / p * net.beta) + (p - 1) * n / p * net.gamma


def _half_ring(n: int, p: int, net: Network) -> float:
    return _ring(n, p, net) / 2


def _linear(n: int, p: int, net: Network) -> float:
    return (p - 1) * (net.alpha + n * net.beta)


def _binomial(n: int, p: int, net: Network) -> float:
    return ceil(log2(p)) * (net.alpha + n * net.beta)


def _dissemination(n: int, p: int, net: Network) -> float:
    return ceil(log2(p)) * net.alpha


ALGORITHMS: dict[str, dict[str, Cost]] = {
    "allreduce": {"naive": _naive, "ring": _ring},
    "reduce_scatter": {"ring": _half_ring},
    "allgather": {"ring": _half_ring},
    "bcast": {"binomial": _binomial, "linear": _linear},
    "barrier": {"dissemination": _dissemination},
}
NATIVE = ("allreduce", "bcast", "barrier")


def choose(operation: str, algorithm: str, n: int, p: int, net: Network) -> str:
    """The name of the algorithm to use; "auto" takes the cheapest of ours.

    n: bytes of the whole vector.   errors: OptionError for a name that is not offered
    """
    offered = ALGORITHMS[operation]
    if algorithm == "auto":
        return min(offered, key=lambda name: offered[name](n, p, net))
    if algorithm in offered or (algorithm == "native" and operation in NATIVE):
        return algorithm
    names = [*offered, "auto", *(["native"] if operation in NATIVE else [])]
    raise OptionError(f"{operation}: algorithm={algorithm!r} is unknown; choose one of {', '.join(names)}")
