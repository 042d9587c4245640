"""How an array is cut among ranks: as numpy.array_split does, the first n mod p parts have one
element more. The parts are views, so writing to one writes to the array.
"""

from itertools import accumulate, pairwise
from typing import Any

SEGMENT = 16384  # elements of a segment, where an algorithm sends an array in several


def part_lengths(n: int, parts: int) -> list[int]:
    """Lengths of the parts: they differ by at most one and add up to n."""
    return [n // parts + (i < n % parts) for i in range(parts)]


def starts(lengths: list[int]) -> list[int]:
    """Where each part begins, and behind the last one where it ends: parts i … j-1 of x are
    x[starts[i]:starts[j]]."""
    return [0, *accumulate(lengths)]


def cut(x: Any, lengths: list[int]) -> list[Any]:
    """Consecutive stretches of x along dim 0, of these lengths."""
    return [x[i:j] for i, j in pairwise(starts(lengths))]


def segments(n: int) -> int:
    """In how many segments n elements travel; at least one, so that an empty array is sent too."""
    return max(1, -(-n // SEGMENT))
