"""Tensor-parallel layers against their serial twins."""

import numpy as np
import pytest
from ranks import ranks

import mpipar as mp
from mpipar import nn
from mpipar.arrays import asarray, to_host
from mpipar.errors import DTypeError, LabelError, LayoutError, OptionError, ShapeError
from mpipar.parallel import Mesh, gpt, whole
from mpipar.parallel.sequence import SequenceRowLinear
from mpipar.parallel.tensor import ColumnLinear, HeadParallelAttention, RowLinear, VocabularyEmbedding
from mpipar.parallel.vocabulary import vocabulary_cross_entropy
from mpipar.tensor import Tensor, cross_entropy

DRAW = np.random.default_rng(0)
X = DRAW.standard_normal((2, 3, 24))
DY = DRAW.standard_normal((2, 3, 24))
IDS, LABELS = DRAW.integers(0, 24, (3, 6)), DRAW.integers(0, 24, (3, 6))
GPT = {"vocabulary": 24, "context": 8, "width": 24, "layers": 3, "heads": 12, "dtype": np.float64, "seed": 3}


def assert_close(mine, expected, name=""):
    np.testing.assert_allclose(to_host(mine), to_host(expected), rtol=1e-10, atol=1e-12, err_msg=name)


def run(layer, x, dy):
    """y and dx; the layer's parameters have their gradients then."""
    x = Tensor(asarray(x), requires_grad=True)
    y = layer(x)
    y.backward(asarray(dy))
    return y.numpy(), x.grad


def assert_same_parameters(mine, serial, comm):
    """Values and gradients of all names, put together, are the serial ones; seeds make values equal."""
    twins = dict(serial.named_parameters())
    assert list(twins) == [name for name, _ in mine.named_parameters()]
    for name, p in mine.named_parameters():
        assert (whole(p, p.data, comm) == twins[name].numpy()).all(), name
        assert_close(whole(p, p.grad, comm), twins[name].grad, name)


def columns(array, world):
    return np.split(array, world.size, axis=-1)[world.rank]


@ranks(1, 2, 3, 4)
def test_column_linear_matches_linear(world):
    for bias in (True, False):
        serial = nn.Linear(24, 24, bias, seed=1, dtype=np.float64)
        y, dx = run(serial, X, DY)
        mine = ColumnLinear(24, 24, world, bias, seed=1, dtype=np.float64)
        y_r, dx_r = run(mine, X, columns(DY, world))
        assert_close(y_r, columns(y, world))
        assert_close(dx_r, dx)
        assert_same_parameters(mine, serial, world)
        mine = ColumnLinear(24, 24, world, bias, gather_output=True, seed=1, dtype=np.float64)
        assert [to_host(a).shape for a in run(mine, X, DY)] == [y.shape, X.shape]
        assert_same_parameters(mine, serial, world)
        assert mine.weight.shape == (24 // world.size, 24)


@ranks(1, 2, 3, 4)
def test_row_linear_matches_linear(world):
    for bias in (True, False):
        serial = nn.Linear(24, 24, bias, seed=1, dtype=np.float64)
        y, dx = run(serial, X, DY)
        mine = RowLinear(24, 24, world, bias, seed=1, dtype=np.float64)
        y_r, dx_r = run(mine, columns(X, world), DY)
        assert_close(y_r, y)
        assert_close(dx_r, columns(to_host(dx), world))
        assert_same_parameters(mine, serial, world)
        mine = RowLinear(24, 24, world, bias, input_is_parallel=False, seed=1, dtype=np.float64)
        for a, b in zip(run(mine, X, DY), (y, dx), strict=True):
            assert_close(a, b)
        assert_same_parameters(mine, serial, world)
        assert mine.weight.shape == (24, 24 // world.size)


@ranks(1, 2, 3, 4)
def test_attention_of_some_heads_each_matches_all_heads(world):
    for bias in (True, False):
        serial = nn.CausalSelfAttention(24, 12, bias, seed=1, dtype=np.float64)
        mine = HeadParallelAttention(24, 12, world, bias, seed=1, dtype=np.float64)
        for a, b in zip(run(mine, X, DY), run(serial, X, DY), strict=True):
            assert_close(a, b)
        assert_same_parameters(mine, serial, world)
        assert mine.in_proj_weight.shape == (72 // world.size, 24)


@ranks(1, 2, 3, 4)
def test_vocabulary_embedding_matches_embedding(world):
    serial = nn.Embedding(24, 5, seed=1, dtype=np.float64)
    mine = VocabularyEmbedding(24, 5, world, seed=1, dtype=np.float64)
    dy = asarray(np.arange(90.0).reshape(3, 6, 5))
    for layer in (serial, mine):
        y = layer(asarray(IDS))
        y.backward(dy)
    assert_close(mine(asarray(IDS)).data, serial(asarray(IDS)).data)
    assert_same_parameters(mine, serial, world)
    with pytest.raises(LabelError, match=r"id 24 at position \(1,\) is outside 0 … 23"):
        mine(asarray(np.array([0, 24]))).numpy()


@ranks(1, 2, 3, 4)
def test_vocabulary_cross_entropy_matches_cross_entropy(world):
    logits = np.random.default_rng(1).standard_normal((3, 6, 24)) * 3 + 1000  # so that the maximum matters
    some = LABELS.copy()
    some[0], some[2, 1] = -100, -100
    for labels, reduction, ignore in [
        (LABELS, "mean", -100), (LABELS, "sum", None), (some, "mean", -100), (some, "sum", -100),
        (np.full((3, 6), -100), "sum", -100),
    ]:  # fmt: skip
        x = Tensor(asarray(logits), requires_grad=True)
        serial = cross_entropy(x, asarray(labels), reduction, ignore)
        (serial * 2.0).backward()
        x_r = Tensor(asarray(columns(logits, world)), requires_grad=True)
        loss = vocabulary_cross_entropy(x_r, asarray(labels), world, reduction, ignore)
        (loss * 2.0).backward()
        assert_close(loss.data, serial.data)
        assert_close(x_r.grad, columns(to_host(x.grad), world))


@ranks(2)
def test_vocabulary_cross_entropy_of_a_row_that_is_not_kept_and_holds_infinities(world):
    x = Tensor(asarray(np.array([[np.inf, np.inf], [1.0, 1.0]])), requires_grad=True)
    with np.errstate(invalid="ignore"):
        loss = vocabulary_cross_entropy(x, asarray(np.array([-100, 0])), world)
        loss.backward()
    assert loss.item() == pytest.approx(np.log(4))
    assert_close(x.grad, [[0, 0], [-0.75 if world.rank == 0 else 0.25, 0.25]])


@ranks(2)
def test_vocabulary_cross_entropy_of_each_row_is_its_own_however_large_another_is(world):
    x = Tensor(asarray(np.array([[0, 0], [200, 200]], np.float32)))
    loss = vocabulary_cross_entropy(x, asarray(np.array([0, 1])), world)
    assert loss.item() == pytest.approx(np.log(4))


@ranks(2)
def test_vocabulary_cross_entropy_names_mistakes(world):
    x, labels = Tensor(asarray(np.zeros((3, 4)))), asarray(np.array([0, 7, 3]))
    vocabulary_cross_entropy(x, labels, world)
    with pytest.raises(LabelError, match="label 8 at position"):
        vocabulary_cross_entropy(x, labels + 1, world).item()
    with pytest.raises(LabelError, match="the mean of no rows"):
        vocabulary_cross_entropy(x, labels * 0 - 100, world).item()
    with pytest.raises(ShapeError, match=r"logits \(3, 4\) and labels \(2,\)"):
        vocabulary_cross_entropy(x, labels[:2], world)
    with pytest.raises(OptionError, match="reduction='max'"):
        vocabulary_cross_entropy(x, labels, world, "max")
    with pytest.raises(DTypeError, match="cast them to an integer"):
        vocabulary_cross_entropy(x, labels.astype("float64"), world)


@ranks(4)
def test_sizes_that_do_not_divide_are_named(world):
    tp = Mesh(world, tp=4)["tp"]
    cannot = "which 4 tp ranks cannot share;"
    for build, said in [
        (
            lambda: ColumnLinear(8, 10, tp),
            rf"ColumnLinear: weight \(10, 8\) has 10 rows, {cannot} pad rows or",
        ),
        (
            lambda: RowLinear(10, 8, tp),
            rf"RowLinear: weight \(8, 10\) has 10 columns, {cannot} pad columns or",
        ),
        (
            lambda: VocabularyEmbedding(65, 8, tp),
            rf"VocabularyEmbedding: weight \(65, 8\) has 65 rows, {cannot}",
        ),
        (
            lambda: HeadParallelAttention(12, 6, tp),
            f"HeadParallelAttention: 6 heads, {cannot} choose a multiple",
        ),
    ]:
        with pytest.raises(LayoutError, match=said):
            build()


@ranks(2)
def test_a_row_layer_says_whether_it_wants_all_of_x_or_a_part(world):
    whole_x, part = (Tensor(asarray(np.ones((3, n), "float32"))) for n in (8, 4))
    with pytest.raises(ShapeError, match=r"x \(3, 8\), .*parallel=True .* is 4, .*gather_output=False"):
        RowLinear(8, 4, world, seed=0)(whole_x)
    with pytest.raises(ShapeError, match=r"x \(3, 4\), .*parallel=False .* is 8, .*gather_output=True"):
        RowLinear(8, 4, world, input_is_parallel=False, seed=0)(part)
    with pytest.raises(ShapeError, match=r"SequenceRowLinear: x \(3, 8\), .* is 4"):
        SequenceRowLinear(8, 4, world, seed=0)(whole_x)


def test_a_block_allreduces_its_activations_twice_forward_and_twice_backward(tmp_path):
    def one_step(world):
        model = gpt(GPT, Mesh(world, tp=2))
        with world.scope("forward"):
            loss = model.loss(asarray(IDS), asarray(LABELS))
        with world.scope("backward"):
            loss.backward()

    mp.virtual.run(one_step, 2, trace=tmp_path)
    calls = {"forward": [], "backward": []}
    for rank, event in mp.trace.read(tmp_path).events():
        if rank == 0 and event.op == "allreduce":
            calls[event.scope.split("/")[0]].append(event.bytes // 8)
    n = IDS.size * 24
    assert calls["forward"] == [n] * (1 + 2 * 3) + [IDS.size, 2 * IDS.size]  # embedding, blocks, loss
    assert calls["backward"] == [n] * (1 + 2 * 3)  # head, blocks
