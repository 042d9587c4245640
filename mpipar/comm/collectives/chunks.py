"""How an array is cut among ranks: as numpy.array_split does, the first n mod p parts have one
element more. The parts are views, so writing to one writes to the array.
"""

from typing import Any


def part_lengths(n: int, parts: int) -> list[int]:
    """Lengths of the parts: they differ by at most one and add up to n."""
    return [n // parts + (i < n % parts) for i in range(parts)]


def cut(x: Any, lengths: list[int]) -> list[Any]:
    """Consecutive stretches of x along dim 0, of these lengths."""
    parts, start = [], 0
    for length in lengths:
        parts.append(x[start : start + length])
        start += length
    return parts
