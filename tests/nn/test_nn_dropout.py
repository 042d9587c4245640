"""Dropout: the same masks for the same names, whatever the layout."""

import numpy as np
import pytest

from mpipar import nn
from mpipar.errors import GraphError, ShapeError
from mpipar.tensor import Tensor


def ones(rows, width=50):
    return Tensor(np.ones((rows, width), "f"))


def net(seed=0):
    return nn.Sequential(nn.Dropout(0.25), nn.ReLU(), nn.Dropout(0.25), seed=seed)


def test_keeps_the_mean_and_drops_its_share():
    y = nn.Dropout(0.25, seed=0)(ones(200, 200)).numpy()
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert (y == 0).mean() == pytest.approx(0.25, abs=0.01)


def test_masks_follow_seed_path_and_call():
    layer, twin = nn.Dropout(0.5, seed=1), nn.Dropout(0.5, seed=1)
    first, second = layer(ones(4)).numpy(), layer(ones(4)).numpy()
    assert np.array_equal(first, twin(ones(4)).numpy()) and not np.array_equal(first, second)
    assert not np.array_equal(first, nn.Dropout(0.5, seed=2)(ones(4)).numpy())
    layer.calls = 0  # as recomputation does
    assert np.array_equal(first, layer(ones(4)).numpy())
    model = net()
    a, b = model[0](ones(4)).numpy(), model[2](ones(4)).numpy()
    assert [m.path for m in model] == ["0", "1", "2"] and not np.array_equal(a, b)


def test_evaluation_and_p_0_pass_x_through():
    x = ones(3)
    layer = nn.Dropout(0.5, seed=0).eval()
    assert layer(x) is x and layer.calls == 0
    assert nn.Dropout(0.0)(x) is x


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_ranks_together_drop_what_one_rank_drops(size):
    serial = net()
    expected = [serial(ones(7)).numpy() for _ in range(2)]
    for step in range(2):
        parts = []
        for rank in range(size):
            model = net()
            rows = np.array_split(np.arange(7), size)[rank]
            for _ in range(step + 1):
                nn.share_rows(model, (rows[0], rows[-1] + 1, 7))
                y = model(ones(len(rows))).numpy()
            parts.append(y)
        assert np.array_equal(np.concatenate(parts), expected[step])


def test_errors():
    with pytest.raises(GraphError, match="no seed"):
        nn.Dropout()(ones(2))
    model = net()
    nn.share_rows(model, (0, 3, 8))
    with pytest.raises(ShapeError, match=r"2 rows, but rows=\(0, 3, 8\) are 3"):
        model(ones(2))
    nn.share_rows(model, None)
    model(ones(2))
