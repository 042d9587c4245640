"""What an algorithm costs, as numbers: the formulas of the docstrings, in a form to compute with.

Each algorithm has a function `cost(n, p, r, root) -> Cost` beside it, for n elements on p ranks,
as rank r sees it. Messages and elements sent are exact for every n, also where the ranks' parts
differ by an element; a test counts them in a trace. `path` is exact where p divides n.
"""

from typing import NamedTuple

from mpipar.comm.network import Network


class Cost(NamedTuple):
    """messages, sent: of this rank;   rounds, path, reduced: of the whole operation

    A round is one message: a rank sends at most one and receives at most one at a time. `rounds`
    is the longest chain of messages of which each waits for the one before.
    """

    messages: int  # sent
    sent: int  # elements
    rounds: int
    path: float  # elements carried along the longest chain
    reduced: float = 0  # elements added along it

    def seconds(self, itemsize: int, net: Network) -> float:
        """rounds·alpha + bytes·beta + bytes added·gamma"""
        return self.rounds * net.alpha + (self.path * net.beta + self.reduced * net.gamma) * itemsize


def log2_ceil(p: int) -> int:
    """⌈log2 p⌉: how often 1 must be doubled to reach p."""
    return (p - 1).bit_length()


def after(first: Cost, second: Cost) -> Cost:
    """One algorithm and then another, where the second's first message waits for the whole first."""
    return Cost(*(a + b for a, b in zip(first, second, strict=True)))
