"""Sequence-parallel layers against their serial twins, and against tensor parallelism in bytes."""

import numpy as np
import pytest
from ranks import ranks

import mpipar as mp
from mpipar import nn
from mpipar.arrays import asarray, to_host
from mpipar.comm.network import Network
from mpipar.errors import LayoutError
from mpipar.parallel import Mesh, gpt, whole
from mpipar.parallel.models import SequenceParts
from mpipar.parallel.sequence import (
    SequenceAttention,
    SequenceColumnLinear,
    SequenceEmbedding,
    SequenceLayerNorm,
    SequenceRowLinear,
)
from mpipar.tensor import Tensor

DRAW = np.random.default_rng(0)
X, DY = DRAW.standard_normal((2, 12, 24)), DRAW.standard_normal((2, 12, 24))
IDS, LABELS = DRAW.integers(0, 24, (2, 12)), DRAW.integers(0, 24, (2, 12))
GPT = {"vocabulary": 24, "context": 12, "width": 24, "layers": 2, "heads": 12, "dtype": np.float64, "seed": 3}


def run(layer, x, dy):
    x = Tensor(asarray(x), requires_grad=True)
    y = layer(x)
    y.backward(asarray(dy))
    return y.numpy(), to_host(x.grad)


def places(array, world):
    return np.split(array, world.size, axis=1)[world.rank]


def columns(array, world):
    return np.split(array, world.size, axis=2)[world.rank]


def check(world, serial, mine, cut_x, cut_y):
    """y, dx and all parameters' gradients, where x and y are cut in these ways."""
    expected, found = run(serial, X, DY), run(mine, cut_x(X, world), cut_y(DY, world))
    for cut, a, b in zip((cut_y, cut_x), found, expected, strict=True):
        np.testing.assert_allclose(a, cut(b, world), rtol=1e-10, atol=1e-12)
    for (name, p), q in zip(mine.named_parameters(), serial.parameters(), strict=True):
        assert (whole(p, p.data, world) == q.numpy()).all()
        np.testing.assert_allclose(
            whole(p, p.grad, world), to_host(q.grad), rtol=1e-10, atol=1e-12, err_msg=name
        )


@ranks(1, 2, 3, 4)
def test_layers_match_their_serial_twins(world):
    options = {"seed": 1, "dtype": np.float64}
    linear = nn.Linear(24, 24, **options)
    check(world, linear, SequenceColumnLinear(24, 24, world, **options), places, columns)
    linear.zero_grad()
    check(world, linear, SequenceRowLinear(24, 24, world, **options), columns, places)
    attention = nn.CausalSelfAttention(24, 12, **options)
    check(world, attention, SequenceAttention(24, 12, world, **options), places, places)
    check(world, nn.LayerNorm(24, **options), SequenceLayerNorm(24, world, **options), places, places)


@ranks(1, 2, 3, 4)
def test_embedding_gives_this_ranks_places(world):
    serial = nn.Embedding(24, 24, seed=1, dtype=np.float64)
    mine = SequenceEmbedding(24, 24, world, seed=1, dtype=np.float64)
    y, y_r = serial(asarray(IDS)), mine(asarray(IDS))
    assert np.array_equal(y_r.numpy(), places(y.numpy(), world))
    y.backward(asarray(DY))
    y_r.backward(asarray(places(DY, world)))
    mine, p = whole(mine.weight, mine.weight.grad, world), serial.weight
    np.testing.assert_allclose(mine, to_host(p.grad), rtol=1e-12)


@ranks(1, 2, 3, 4)
def test_dropout_drops_what_the_serial_one_drops(world):
    """Also where the rows are shared among data-parallel ranks: row 1 of 3."""
    serial = nn.Sequential(nn.Dropout(0.4), seed=5)
    mine = nn.Sequential(SequenceParts(world).dropout(0.4), seed=5)
    ones = np.ones((3, 12, 8), "f")
    for _ in range(2):
        expected = serial(Tensor(asarray(ones))).numpy()
        nn.share_rows(mine, (1, 2, 3))
        kept = mine(Tensor(asarray(places(ones, world)[1:2]))).numpy()
        assert np.array_equal(kept, places(expected, world)[1:2])


@ranks(2)
def test_a_sequence_that_does_not_divide_is_named(world):
    model = gpt(GPT, Mesh(world, tp=2), sequence=True)
    with pytest.raises(
        LayoutError, match=r"x \(2, 5, 24\) has 5 places in dim 1, which 2 tp ranks cannot share"
    ):
        model(asarray(IDS[:, :5]))


@pytest.mark.parametrize("size", [2, 4])
def test_the_bytes_are_those_of_tensor_parallelism(tmp_path, size):
    """Counted from the hops, beside the gradients of what each rank uses on its places alone."""

    def step(world, sequence):
        mesh = Mesh(world, tp=size)
        model = gpt(GPT, mesh, sequence)
        model.loss(asarray(IDS), asarray(LABELS)).backward()
        if not sequence:
            return 0
        alone = [
            p for name, p in model.named_parameters() if "norm" in name or name.endswith(("j.bias", "2.bias"))
        ]
        assert len(alone) == 2 * 5 + 2 * 2  # weights and biases of norms, biases of row layers
        return sum(p.size for p in alone) * 8

    free = Network(alpha=0.0, beta=1e-9, gamma=0.0)  # so that the algorithms with the fewest bytes are taken
    sent = {}
    for sequence in (False, True):
        folder = tmp_path / str(sequence)
        extra = mp.virtual.run(step, size, network=free, args=(sequence,), trace=folder)
        sent[sequence] = sum(
            e.bytes for rank, e in mp.trace.read(folder).events() if e.op == "send" and rank == 0
        )
    whole_positions = GPT["context"] * GPT["width"] * 8  # their gradient is gathered
    share = (size - 1) / size
    assert sent[True] - sent[False] == share * (2 * extra[0] + whole_positions)
