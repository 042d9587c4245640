"""Which layers are a stage: contiguous, every layer once, at least one layer a stage.

    by_count(10, 4)              3 3 2 2 layers
    by_weight([1, 1, 1, 9], 2)   3 1: the heaviest stage as light as can be
    by_hand([4, 6], 10)          4 6, verified

A pipeline is as fast as its slowest stage, so weights should be times, best measured ones; numbers of
parameters balance memory, and times only where a layer's time grows with its parameters. For v stages
a rank cut into P v stages: stage k goes to rank k mod P.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise

from mpipar.errors import LayoutError


def by_count(layers: int, stages: int) -> list[range]:
    """As many layers everywhere, the first stages one more.   errors: LayoutError for fewer than stages"""
    _check(layers, stages)
    least, more = divmod(layers, stages)
    return by_hand([least + (stage < more) for stage in range(stages)], layers)


def by_weight(weights: Sequence[float], stages: int) -> list[range]:
    """The partition whose heaviest stage is lightest.

    best[n] = min over k < n of max(best of one stage less for k layers, weight of layers k..n-1), exact;
    O(stages · layers²).   weights: one a layer, seconds or parameters
    errors: LayoutError for fewer layers than stages, for a weight below 0
    """
    layers = len(weights)
    _check(layers, stages)
    for layer, weight in enumerate(weights):
        if not 0 <= weight < float("inf"):
            raise LayoutError(f"layer {layer} weighs {weight}; weights are times or sizes from 0 on")
    ends = list(accumulate(weights, initial=0))
    best, cuts = ends, []  # best[n]: heaviest stage of the first n layers;  cuts[stage][n]: its first layer
    for stage in range(1, stages):
        found = [
            min(((max(best[k], ends[n] - ends[k]), k) for k in range(stage, n)), default=(float("inf"), 0))
            for n in range(layers + 1)
        ]
        best = [heaviest for heaviest, _ in found]
        cuts.append([cut for _, cut in found])
    borders = [layers]
    for cut in reversed(cuts):
        borders.append(cut[borders[-1]])
    return [range(start, stop) for start, stop in pairwise([0, *reversed(borders)])]


def by_hand(sizes: Sequence[int], layers: int, stages: int | None = None) -> list[range]:
    """Stages of the given numbers of layers.

    errors: LayoutError where they are not all the layers, one is below 1, or they are not `stages`
    """
    sizes = list(sizes)
    if stages is not None and len(sizes) != stages:
        raise LayoutError(f"{len(sizes)} sizes {sizes} for {stages} stages; give one a stage")
    if any(size < 1 for size in sizes):
        raise LayoutError(f"sizes {sizes}: a stage has at least one layer")
    if sum(sizes) != layers:
        raise LayoutError(f"sizes {sizes} are {sum(sizes)} layers, but the model has {layers}; use them all")
    return [range(stop - size, stop) for size, stop in zip(sizes, accumulate(sizes), strict=True)]


def _check(layers: int, stages: int) -> None:
    if stages < 1:
        raise LayoutError(f"{stages} stages; cut the model into at least one")
    if layers < stages:
        raise LayoutError(
            f"{layers} layers cannot fill {stages} stages; use at most {layers} stages, or more layers"
        )
