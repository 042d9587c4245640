"""Ranges and parts as boxes, against NumPy's own indexing."""

import math

import numpy as np
import pytest

from mpipar.parallel.boxes import box_of, boxes_of_range, count, extents, inside, meet, whole_box


def test_a_range_of_a_matrix_is_the_end_of_a_row_whole_rows_and_the_beginning_of_one():
    expected = [((0, 1), (3, 4)), ((1, 3), (0, 4)), ((3, 4), (0, 2))]
    assert boxes_of_range(3, 14, (4, 4)) == expected
    assert boxes_of_range(5, 7, (4, 4)) == [((1, 2), (1, 3))]
    assert boxes_of_range(4, 4, (4, 4)) == []


@pytest.mark.parametrize("shape", [(), (7,), (3, 4), (2, 1, 5), (2, 3, 4), (2, 0, 3)])
def test_boxes_of_every_range_are_the_range_in_order(shape):
    size = math.prod(shape)
    numbers = np.arange(size).reshape(shape)
    for start in range(size + 1):
        for stop in range(start, size + 1):
            boxes = boxes_of_range(start, stop, shape)
            assert len(boxes) <= max(2 * len(shape) - 1, 1)
            found = [n for box in boxes for n in numbers[inside(box, whole_box(shape))].reshape(-1)]
            assert found == list(range(start, stop))
            assert sum(map(count, boxes)) == stop - start


def test_what_lies_in_both_of_two_boxes():
    a, b = ((0, 4), (2, 8)), ((3, 6), (0, 5))
    assert meet(a, b) == meet(b, a) == ((3, 4), (2, 5))
    assert meet(a, ((4, 6), (2, 8))) is None
    assert meet((), ()) == ()
    assert extents(a) == (4, 6)
    assert inside(((3, 4), (2, 5)), b) == (slice(0, 1), slice(2, 5))
    assert box_of((slice(1, 3),), (4, 5)) == ((1, 3), (0, 5))
