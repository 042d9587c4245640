"""Which algorithm for how many elements on how many ranks: the one with the least predicted time.

The times follow from the algorithms' own formulas (cost.py) and the network's alpha, beta and
gamma. For few bytes the number of rounds decides, for many the bytes on the longest chain.

Copies between a GPU and the host are in no formula. Where messages need them, an array that fills a
piece of the staged ring takes that: no other algorithm copies less, and all wait for each copy.
"""

from functools import lru_cache

from mpipar.comm.collectives.registry import ALGORITHMS
from mpipar.comm.collectives.staged import PIECE
from mpipar.comm.network import Network
from mpipar.errors import OptionError


@lru_cache(maxsize=4096)  # on the path of every collective
def choose(
    operation: str,
    algorithm: str,
    n: int,
    itemsize: int,
    p: int,
    net: Network,
    unseen: bool = False,
    stages: bool = False,
) -> str:
    """The name of the algorithm to use; "auto" takes the cheapest of ours.

    n: elements of the whole vector, of so many bytes each;   unseen: nobody looks at the messages, so
    the cheapest one's sums may be made without any;   stages: the array is on a device, and MPI cannot
    read it there.   errors: OptionError for a name that is not offered
    """
    offered = ALGORITHMS[operation]
    if algorithm == "auto" and stages and n >= PIECE and p > 1 and "staged_ring" in offered:
        return "staged_ring"
    if algorithm == "auto":
        cheapest = next(iter(predict(operation, n, itemsize, p, net)))
        through_memory = f"shared_{cheapest}"
        return through_memory if unseen and through_memory in offered else cheapest
    if algorithm in offered or algorithm == "native":
        return algorithm
    names = ", ".join([*offered, "auto", "native"])
    raise OptionError(f"{operation}: algorithm={algorithm!r} is unknown; choose one of {names}")


def predict(operation: str, n: int, itemsize: int, p: int, net: Network) -> dict[str, float]:
    """Seconds of every algorithm that "auto" may choose, the fastest first."""
    seconds = {
        name: algorithm.cost(n, p, 0, 0).seconds(itemsize, net)
        for name, algorithm in ALGORITHMS[operation].items()
        if algorithm.auto
    }
    return dict(sorted(seconds.items(), key=lambda item: item[1]))
