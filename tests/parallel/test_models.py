"""Models on a mesh against their serial twins: loss, gradients, clipping, states."""

import numpy as np
import pytest
from ranks import ranks

import mpipar as mp
from mpipar import nn
from mpipar.arrays import asarray, to_host
from mpipar.errors import OptionError
from mpipar.optim import clip_grad_norm, grad_norm
from mpipar.parallel import (
    DataParallel,
    Mesh,
    global_grad_norm,
    global_slices,
    gpt,
    load_whole_state_dict,
    mlp,
    whole,
    whole_state_dict,
)
from mpipar.parallel.differentiable import allgather_fwd_slice_bwd
from mpipar.tensor import Tensor

DRAW = np.random.default_rng(0)
X = DRAW.standard_normal((3, 24))
IDS, LABELS = DRAW.integers(0, 24, (4, 12)), DRAW.integers(0, 24, (4, 12))
GPT = {"vocabulary": 24, "context": 16, "width": 24, "layers": 2, "heads": 12, "dtype": np.float64, "seed": 3}


def close(mine, expected, name=""):
    np.testing.assert_allclose(to_host(mine), to_host(expected), rtol=1e-9, atol=1e-12, err_msg=name)


def assert_same_gradients(mine, serial, comm):
    twins = dict(serial.named_parameters())
    assert list(twins) == [name for name, _ in mine.named_parameters()]
    for name, p in mine.named_parameters():
        close(whole(p, p.grad, comm), twins[name].grad, name)


@ranks(1, 2, 3, 4)
def test_mlp_matches_its_serial_twin_with_an_even_and_an_odd_number_of_layers(world):
    for widths in ([24, 12, 5], [24, 12, 24, 5], [24, 5]):
        labels = asarray(np.array([0, 4, 2]))
        serial = nn.MLP(widths, seed=2, dtype=np.float64)
        mine = mlp(widths, Mesh(world, tp=world.size), seed=2, dtype=np.float64)
        losses = [model.loss(Tensor(asarray(X)), labels) for model in (serial, mine)]
        for loss in losses:
            loss.backward()
        close(losses[1].data, losses[0].data)
        assert_same_gradients(mine, serial, world)


@ranks(1, 2, 3, 4)
def test_gpt_matches_its_serial_twin_with_and_without_shared_places(world):
    """Tied and not, with dropout, in two steps, so that the second draws other masks."""
    for tied, dropout, sequence in ((True, 0.2, False), (True, 0.2, True), (False, 0.0, True)):
        serial = nn.GPT(**GPT, tied=tied, dropout=dropout)
        mine = gpt(GPT | {"tied": tied, "dropout": dropout}, Mesh(world, tp=world.size), sequence)
        for _ in range(2):
            losses = [model.loss(asarray(IDS), asarray(LABELS)) for model in (serial, mine)]
            for loss in losses:
                loss.backward()
            close(losses[1].data, losses[0].data)
        assert_same_gradients(mine, serial, world)
        words = mine.eval()(asarray(IDS))
        assert words.shape == (4, 12, 24 // world.size)
        logits = allgather_fwd_slice_bwd(words, world, dim=-1)
        close(logits.data, serial.eval()(asarray(IDS)).data)


def train_on(world, mesh, sequence, strategy):
    """Two clipped steps on this dp rank's rows, of a batch that dp ranks share unequally."""
    serial, mine = nn.GPT(**GPT, dropout=0.1), gpt(GPT | {"dropout": 0.1}, mesh, sequence)
    optimizers = [mp.optim.AdamW(m.parameters(), lr=1e-2) for m in (serial, mine)]
    replica = DataParallel(mine, mesh["dp"], strategy, bucket_bytes=4000)
    rows = np.array_split(np.arange(3), mesh["dp"].size)[mesh["dp"].rank]
    for _ in range(2):
        serial.zero_grad()
        mine.zero_grad()
        expected = serial.loss(asarray(IDS[:3]), asarray(LABELS[:3]))
        expected.backward()
        nn.share_rows(mine, (rows[0], rows[-1] + 1, 3))
        with replica.averaging(len(rows) / 3):
            loss = mine.loss(asarray(IDS[rows]), asarray(LABELS[rows]))
            loss.backward()
        total = mesh["dp"].allreduce(np.array([loss.item() * len(rows) / 3]))[0]
        close(total, expected.item())
        assert_same_gradients(mine, serial, mesh["tp"])
        norm = global_grad_norm(mine.parameters(), mesh)
        close(norm, grad_norm(serial.parameters()))
        clip_grad_norm(mine.parameters(), 0.5, norm)
        clip_grad_norm(serial.parameters(), 0.5)
        for optimizer in optimizers:
            optimizer.step()
    for name, p in mine.named_parameters():
        close(whole(p, p.data, mesh["tp"]), dict(serial.named_parameters())[name].data, name)


@ranks(4)
def test_gpt_on_data_and_tensor_axes_trains_as_its_serial_twin(world):
    for sequence, strategy, order in ((False, "bucketed", "dp,tp"), (True, "overlap", "tp,dp")):
        train_on(world, Mesh(world, dp=2, tp=2, order=order), sequence, strategy)


@pytest.mark.parametrize("sequence", [False, True])
def test_gpt_on_six_ranks_trains_as_its_serial_twin(sequence):
    mp.virtual.run(lambda world: train_on(world, Mesh(world, dp=2, tp=3), sequence, "overlap"), 6)


@ranks(1, 2, 3)
def test_a_whole_state_moves_between_layouts(world):
    serial = nn.GPT(**GPT | {"seed": 9})
    mine = gpt(GPT, Mesh(world, tp=world.size))
    load_whole_state_dict(mine, serial.state_dict())
    state = whole_state_dict(mine, world)
    assert list(state) == list(serial.state_dict())
    for name, value in serial.state_dict().items():
        assert np.array_equal(state[name], value), name
    with pytest.raises(OptionError, match=r"lacks norm\.bias"):
        load_whole_state_dict(mine, {k: v for k, v in state.items() if k != "norm.bias"})
    with pytest.raises(OptionError, match="has unknown other"):
        load_whole_state_dict(mine, {**state, "other": np.zeros(1)})


def test_the_norm_of_gradients_counts_every_number_once_over_parts_and_stages():
    """On tp=2, pp=2 a stage has a part of 2 numbers and one number that its tp ranks both have."""

    def norm(world):
        mesh = Mesh(world, pp=2, tp=2)
        stage, part = mesh.coordinates["pp"], mesh.coordinates["tp"]
        shared = nn.Parameter(np.zeros(2), shard=nn.Shard((4,), 0, part, 2))
        both = nn.Parameter(np.zeros(1))
        shared.grad, both.grad = asarray(np.array([1.0, 2.0]) + part), asarray(np.array([3.0 + stage]))
        return float(to_host(global_grad_norm([shared, both, shared], mesh)))

    squares = 2 * (1 + 4 + 4 + 9) + 9 + 16
    np.testing.assert_allclose(mp.virtual.run(norm, 4), [squares**0.5] * 4, rtol=1e-15)


def test_slices_tell_where_a_part_lies_in_the_whole():
    def slices(world):
        model = gpt(GPT | {"width": 12, "heads": 2}, Mesh(world, tp=2))
        named = dict(model.named_parameters())
        return {name: global_slices(p) for name, p in named.items() if name.startswith("layers.0")}

    _, second = mp.virtual.run(slices, 2)
    everything = (slice(None),)
    assert second["layers.0.self_attn.in_proj_weight"] == [
        ((slice(6, 12),), (slice(0, 6),)),  # head 1 of q, k and v
        ((slice(18, 24),), (slice(6, 12),)),
        ((slice(30, 36),), (slice(12, 18),)),
    ]
    assert second["layers.0.linear2.weight"] == [((slice(None), slice(24, 48)), (slice(None), slice(0, 24)))]
    assert second["layers.0.linear2.bias"] == [(everything, everything)]
