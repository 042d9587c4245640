"""Unequal parts: largest remainders, samplers with weights, and micro-batches."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpipar.arrays import to_host
from mpipar.data import DistributedSampler, Loader, micro_batches, proportional
from mpipar.errors import OptionError

WEIGHTS = st.lists(st.floats(0, 1e6), min_size=1, max_size=9).filter(any)


@pytest.mark.parametrize(
    ("total", "weights", "counts"),
    [
        (40, [1, 1 / 3, 1, 1], [12, 4, 12, 12]),
        (100, [53, 24, 23], [53, 24, 23]),
        # Hamilton's method by hand: quotas 1.5, 3.75, 4.75, so the two largest fractions round up
        (10, [6, 15, 19], [1, 4, 5]),
        (3, [1, 1, 1, 1], [1, 1, 1, 0]),
        (0, [2, 5], [0, 0]),
        (7, [0, 1, 0], [0, 7, 0]),
    ],
)
def test_largest_remainders(total, weights, counts):
    assert proportional(total, weights) == counts


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 5000), WEIGHTS)
def test_parts_add_up_and_are_less_than_one_off(total, weights):
    counts = proportional(total, weights)
    assert sum(counts) == total
    for count, weight in zip(counts, weights, strict=True):
        assert abs(count - total * weight / sum(weights)) < 1 + 1e-9
        assert count >= 0 and (weight > 0 or count == 0)


@given(st.integers(0, 500), st.integers(1, 9), st.floats(1e-3, 1e3))
def test_equal_weights_cut_as_array_split(total, parts, weight):
    wanted = [len(part) for part in np.array_split(np.empty(total), parts)]
    assert proportional(total, [weight] * parts) == wanted


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 60), st.integers(1, 25), WEIGHTS)
def test_weighted_ranks_in_order_are_the_serial_run(length, batch_size, weights):
    size = len(weights)
    whole = list(DistributedSampler(length, 0, 1, batch_size))
    parts = [DistributedSampler(length, r, size, batch_size, weights=weights) for r in range(size)]
    for number, batches in enumerate(zip(*parts, strict=True)):
        assert np.array_equal(np.concatenate(batches), whole[number])
        assert [len(b) for b in batches] == proportional(len(whole[number]), weights)
        rows = [sampler.rows(number) for sampler in parts]
        assert [stop - start for start, stop, _ in rows] == [len(b) for b in batches]
        assert rows[0][0] == 0 and rows[-1][1] == rows[0][2] == len(whole[number])
        assert all(a[1] == b[0] for a, b in pairwise(rows))


@pytest.mark.parametrize("weights", [[0, 0], [1, -1], [1, float("nan")], [1, float("inf")]])
def test_weights_that_are_none(weights):
    with pytest.raises(OptionError, match="each must be a finite number from 0 on, and one above 0; give"):
        DistributedSampler(10, 0, 2, 4, weights=weights)


def test_a_weight_is_wanted_for_each_rank():
    with pytest.raises(OptionError, match="3 weights for 2 ranks; give one a rank"):
        DistributedSampler(10, 0, 2, 4, weights=[1, 2, 3])


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_micro_batches_are_the_batch_in_parts(count):
    x, y = np.arange(20).reshape(10, 2), np.arange(10)
    for batch in Loader(x, y, DistributedSampler(10, 1, 2, 9, shuffle=False)):
        parts = micro_batches(batch, count)
        assert len(parts) == count
        wanted = np.array_split(to_host(batch.y), count)
        for part, expected in zip(parts, wanted, strict=True):
            assert np.array_equal(to_host(part.y), expected)
            assert np.array_equal(to_host(part.x)[:, 0], 2 * expected)
            assert part.weight == len(expected) / max(len(batch.y), 1)
            start, stop, total = part.rows
            assert (stop - start, total) == (len(expected), batch.rows[2])
        assert (parts[0].rows[0], parts[-1].rows[1]) == batch.rows[:2]
    with pytest.raises(OptionError, match="count=0; a batch has at least 1 part"):
        micro_batches(batch, 0)
