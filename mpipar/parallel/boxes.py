"""Boxes: rectangular parts of an array, the one shape in which a checkpoint stores what ranks hold.

    Box     ((0, 2), (4, 8))      rows 0 and 1, columns 4 … 7 of an array with two dims

A part of a parameter that tensor-parallel ranks share is a box, or one box each of q, k and v; a range
of its numbers in C order, as ZeRO cuts them, is a few boxes: the rest of a row, whole rows, the
beginning of a row.

    numbers 3 … 13 of (4, 4)      . . . ■      ((0, 1), (3, 4))
                                  ■ ■ ■ ■      ((1, 3), (0, 4))
                                  ■ ■ ■ ■
                                  ■ ■ . .      ((3, 4), (0, 2))
"""

import math

Box = tuple[tuple[int, int], ...]
Index = tuple[slice, ...]


def whole_box(shape: tuple[int, ...]) -> Box:
    """All of an array."""
    return tuple((0, n) for n in shape)


def extents(box: Box) -> tuple[int, ...]:
    """The shape of an array that holds the box alone."""
    return tuple(stop - start for start, stop in box)


def count(box: Box) -> int:
    """How many numbers."""
    return math.prod(extents(box))


def meet(a: Box, b: Box) -> Box | None:
    """What lies in both; None for nothing."""
    common = tuple((max(p[0], q[0]), min(p[1], q[1])) for p, q in zip(a, b, strict=True))
    return None if any(start >= stop for start, stop in common) else common


def inside(part: Box, whole: Box) -> Index:
    """The slices that take `part` from an array that holds `whole` alone."""
    return tuple(slice(p[0] - w[0], p[1] - w[0]) for p, w in zip(part, whole, strict=True))


def box_of(index: Index, shape: tuple[int, ...]) -> Box:
    """Slices, as many as there are dims or fewer, as a box."""
    full = (*index, *[slice(None)] * (len(shape) - len(index)))
    return tuple(s.indices(n)[:2] for s, n in zip(full, shape, strict=True))


def boxes_of_range(start: int, stop: int, shape: tuple[int, ...]) -> list[Box]:
    """Numbers start … stop-1 in C order as boxes in that order, at most 2·ndim - 1.

    Laid one after the other, each in C order, the boxes are the range.
    """
    if start >= stop:
        return []
    if not shape:
        return [()]
    row = math.prod(shape[1:])
    first, last = -(-start // row), stop // row  # whole rows: first … last-1
    if first > last:
        return _of_row(last, start, stop, shape)
    head = _of_row(first - 1, start, first * row, shape)
    body = [((first, last), *whole_box(shape[1:]))] if first < last else []
    return head + body + _of_row(last, last * row, stop, shape)


def _of_row(i: int, start: int, stop: int, shape: tuple[int, ...]) -> list[Box]:
    """A range that lies in row i."""
    before = i * math.prod(shape[1:])
    return [((i, i + 1), *box) for box in boxes_of_range(start - before, stop - before, shape[1:])]
