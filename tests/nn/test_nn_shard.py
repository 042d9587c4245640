"""Parameters of which a rank keeps a part."""

import copy

import numpy as np
import pytest

from mpipar import nn
from mpipar.arrays import asarray
from mpipar.nn.init import normal, uniform


def drawn(init, shard):
    p = nn.Parameter(init, shard=shard)
    assert p.shape == np.zeros(init.shape)[shard.part].shape  # before it has values
    p.draw(1, "weight")
    return p


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize(("dim", "groups"), [(0, 1), (1, 1), (0, 3)])
def test_the_parts_of_all_ranks_are_the_whole(size, dim, groups):
    init = uniform((18, 6), 0.5, "float64")
    whole = nn.Parameter(init)
    whole.draw(1, "weight")
    joined = np.full((18, 6), np.nan)
    for rank in range(size):
        p = drawn(init, nn.Shard((18, 6), dim, 0, size, groups=groups).of(rank))
        for there, here in p.shard.slices():
            assert np.isnan(joined[there]).all()  # no number is kept twice
            joined[there] = p.numpy()[here]
        assert np.array_equal(whole.numpy()[p.shard.part], p.numpy())
    assert np.array_equal(joined, whole.numpy())


def test_groups_are_shared_each_by_itself():
    shard = nn.Shard((12, 4), 0, rank=1, size=2, groups=3)
    assert shard.ranges == [(2, 4), (6, 8), (10, 12)]
    assert shard.part[0].tolist() == [2, 3, 6, 7, 10, 11]


def test_a_copy_is_a_part_too():
    p = drawn(normal((4, 2), 1.0), nn.Shard((4, 2), 0, 1, 2))
    twin = copy.deepcopy(p)
    assert twin.shard == p.shard and twin.shape == (2, 2)
    p.data = asarray(np.zeros((2, 2), "f"))
    assert (twin.numpy() != 0).all()
