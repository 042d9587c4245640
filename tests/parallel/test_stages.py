"""Cutting models into stages: layers, names, values, measured times."""

import numpy as np
import pytest
from ranks import ranks

import mpipar as mp
from mpipar import nn
from mpipar.arrays import asarray, to_host
from mpipar.errors import LayoutError
from mpipar.nn import Module
from mpipar.parallel import layer_seconds
from mpipar.parallel.stages import Ties, assemble, cut_layers, draw
from mpipar.schedule import by_weight
from mpipar.tensor import Tensor


def names(layers):
    return [list(layer.modules) for layer in layers]


def test_chains_of_the_models():
    """A layer has parameters; what has none belongs to the one before it, or at the front behind it."""
    assert names(nn.MLP([4, 3, 2, 1]).chain()) == [["0", "1"], ["2", "3"], ["4"]]
    assert names(nn.CNN().chain()) == [["0", "1", "2"], ["3", "4", "5", "6"], ["7"]]
    flat = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.ReLU())
    assert names(flat.chain()) == [["0", "1", "2"]]
    gpt = nn.GPT(8, 4, layers=2).chain()
    assert names(gpt) == [["tokens", "positions", "dropout"], ["layers.0"], ["layers.1"], ["norm", "head"]]


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (nn.MLP([4, 3, 2], seed=1), Tensor(np.ones((2, 4), np.float32))),
        (nn.CNN(seed=1), Tensor(np.ones((2, 1, 8, 8), np.float32))),
        (nn.GPT(8, 4, seed=1), Tensor(np.array([[0, 1, 2]]))),
    ],
)
def test_a_chain_computes_what_the_model_does(model, x):
    y = x
    for layer in model.chain():
        y = layer.forward(y)
    assert np.array_equal(y.numpy(), model(x).numpy())


def test_partitions():
    """Of a GPT the embedding and the head are the heaviest; tied, both have the table."""
    layers = nn.GPT(1000, 4, width=8, layers=4).chain()
    assert cut_layers(layers, 3) == [range(2), range(2, 4), range(4, 6)]
    assert cut_layers(layers, 3, "parameters") == [range(1), range(1, 5), range(5, 6)]
    assert cut_layers(layers, 3, [1, 2, 3]) == [range(1), range(1, 3), range(3, 6)]
    assert cut_layers(layers, 2, by_weight([1, 1, 1, 9, 1, 1], 2)) == [range(3), range(3, 6)]
    with pytest.raises(LayoutError, match="2 sizes"):
        cut_layers(layers, 3, [3, 3])


def test_a_part_has_the_values_and_dropout_of_the_whole():
    config = {"vocabulary": 8, "context": 4, "width": 4, "heads": 2, "dropout": 0.1}
    serial, model = nn.GPT(**config, seed=5), nn.GPT(**config)
    part = assemble(model.chain()[2:])
    draw(part, {p: name for name, p in model.named_parameters()}, 5)
    state = part.state_dict()
    assert [name for name in state if "layers.1" not in name] == ["norm.weight", "norm.bias", "head.weight"]
    assert all(np.array_equal(value, serial.state_dict()[name]) for name, value in state.items())
    assert model.head.weight.name == "tokens.weight"
    assert not model.positions.weight.drawn and not model.layers[0].linear1.weight.drawn
    twin, dropout = serial.layers[1].dropout1, model.layers[1].dropout1
    assert (dropout.path, dropout.seed) == (twin.path, twin.seed) == ("layers.1.dropout1", 5)


@ranks(2, 3, virtual=(1, 2, 3, 4))
def test_ties_sum_what_ranks_share(world):
    """One parameter on the first and last rank, one on all, one on two stages of rank 0 alone."""
    ends, everywhere, own = (nn.Parameter(np.zeros(1)) for _ in range(3))
    of_stage = {r: [everywhere] for r in range(world.size)}
    of_stage[0] = [ends, everywhere, own]
    of_stage[world.size] = [own]
    of_stage[world.size - 1] = [*of_stage[world.size - 1], ends]
    rank_of = {**{r: r for r in range(world.size)}, world.size: 0}
    ties = Ties(of_stage, rank_of, world)
    for p in (ends, everywhere, own):
        p.grad = asarray(np.array([1.0 + world.rank]))
    ties.sum_gradients()
    total = sum(range(1, world.size + 1))
    assert to_host(everywhere.grad)[0] == total and to_host(own.grad)[0] == 1 + world.rank
    if world.rank in (0, world.size - 1):
        assert to_host(ends.grad)[0] == (1 + world.size if world.size > 1 else 1)
    assert (everywhere in ties.elsewhere) == (world.rank > 0)
    assert (ends in ties.elsewhere) == (world.rank == world.size - 1 > 0)


class Slow(Module):
    """Takes a tenth of a second of virtual time, on rank 1 twice as long."""

    def __init__(self, world):
        self.inside, self._world = nn.Linear(4, 4), world

    def forward(self, x):
        self._world.pause(0.1 * (1 + self._world.rank))
        return self.inside(x)


def test_layers_are_timed_and_left_as_they_were():
    def timed(world):
        model = nn.Sequential(nn.Linear(4, 4), Slow(world), nn.Dropout(0.5), nn.Linear(4, 2))
        seconds = layer_seconds(model, asarray(np.ones((3, 4), np.float32)), world)
        assert not any(p.drawn or p.grad is not None for p in model.parameters())
        assert all(m.training for m in model.modules())
        assert by_weight(seconds, 2) == [range(1), range(1, 3)]
        return seconds

    one, other = mp.virtual.run(timed, 2)
    assert one == other
    np.testing.assert_allclose(one, [0, 0.2, 0], atol=1e-6)
