"""Partitions against all partitions."""

from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpipar.errors import LayoutError
from mpipar.schedule import by_count, by_hand, by_weight


def all_partitions(layers, stages):
    for cuts in combinations(range(1, layers), stages - 1):
        yield [range(a, b) for a, b in pairwise((0, *cuts, layers))]


def heaviest(weights, stages):
    return max(sum(weights[layer] for layer in stage) for stage in stages)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=9), st.data())
def test_no_partition_has_a_lighter_heaviest_stage(weights, data):
    stages = data.draw(st.integers(1, len(weights)))
    found = by_weight(weights, stages)
    best = min(heaviest(weights, other) for other in all_partitions(len(weights), stages))
    assert found in list(all_partitions(len(weights), stages))
    assert heaviest(weights, found) == best


@pytest.mark.parametrize(("layers", "stages"), [(n, p) for n in range(1, 8) for p in range(1, n + 1)])
def test_by_count_is_even_and_the_first_have_more(layers, stages):
    found = by_count(layers, stages)
    sizes = [len(stage) for stage in found]
    assert found in list(all_partitions(layers, stages))
    assert sizes == sorted(sizes, reverse=True) and sizes[0] - sizes[-1] <= 1


def test_by_measured_time_and_by_hand():
    assert by_weight([0.1, 0.1, 0.1, 0.9], 2) == by_hand([3, 1], 4) == [range(0, 3), range(3, 4)]
    assert by_hand((1, 2, 3), 6, stages=3) == [range(0, 1), range(1, 3), range(3, 6)]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: by_count(3, 4), "3 layers cannot fill 4 stages; use at most 3 stages, or more layers"),
        (lambda: by_weight([1, 1], 3), "2 layers cannot fill 3 stages"),
        (lambda: by_count(3, 0), "0 stages; cut the model into at least one"),
        (lambda: by_weight([1, -1], 2), "layer 1 weighs -1; weights are times or sizes from 0 on"),
        (lambda: by_weight([float("nan")], 1), "layer 0 weighs nan"),
        (lambda: by_hand([2, 2], 5), r"sizes \[2, 2\] are 4 layers, but the model has 5; use them all"),
        (lambda: by_hand([5, 0], 5), r"sizes \[5, 0\]: a stage has at least one layer"),
        (lambda: by_hand([2, 3], 5, stages=3), r"2 sizes \[2, 3\] for 3 stages; give one a stage"),
    ],
)
def test_layers_that_do_not_fit(call, text):
    with pytest.raises(LayoutError, match=text):
        call()
