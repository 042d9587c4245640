"""Names, initial values, state, and the mistakes a user makes with modules."""

import copy

import numpy as np
import pytest

from mpipar import nn
from mpipar.arrays import asarray, to_host
from mpipar.errors import GraphError, OptionError, ShapeError
from mpipar.tensor import Tensor, relu


class Net(nn.Module):
    def __init__(self, seed=None):
        self.first = nn.Linear(4, 3)
        self.blocks = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
        self.last = nn.Linear(3, 2, bias=False)
        self.initialize(seed)

    def forward(self, x):
        x = relu(self.first(x))
        for block in self.blocks:
            x = block(x)
        return self.last(x)


NAMES = [
    "first.weight", "first.bias", "blocks.0.weight", "blocks.0.bias", "blocks.1.weight", "blocks.1.bias",
    "last.weight",
]  # fmt: skip


def values(module):
    return module.state_dict()


def test_names_are_dotted_and_in_order():
    net = Net(seed=0)
    assert [n for n, _ in net.named_parameters()] == NAMES == list(net.state_dict())
    assert [p.name for p in net.parameters()] == NAMES
    assert [n for n, _ in net.named_modules()] == ["", "first", "blocks", "blocks.0", "blocks.1", "last"]
    assert net.blocks[1].path == "blocks.1"
    assert net.num_parameters() == 4 * 3 + 3 + 2 * (9 + 3) + 6


def test_initial_values_depend_on_seed_and_name_alone():
    net, twin, other = Net(0), Net(0), Net(1)
    assert all(np.array_equal(a, b) for a, b in zip(values(net).values(), values(twin).values(), strict=True))
    assert not np.array_equal(values(net)["first.weight"], values(other)["first.weight"])
    assert not np.array_equal(values(net)["blocks.0.weight"], values(net)["blocks.1.weight"])
    # a pipeline stage that holds only block 1 starts with the same numbers
    stage = nn.Linear(3, 3).initialize(0, prefix="blocks.1")
    assert np.array_equal(values(stage)["weight"], values(net)["blocks.1.weight"])
    assert stage.weight.name == "blocks.1.weight" and stage.path == "blocks.1"


def test_a_part_is_a_slice_of_the_whole():
    whole = nn.Linear(6, 8, seed=3).weight
    part = nn.Parameter(nn.init.uniform((8, 6), nn.init.fan_in_bound(6), part=(slice(2, 5),)))
    assert part.shape == (3, 6) and part.ndim == 2 and part.size == 18
    part.draw(3, "weight")
    assert np.array_equal(part.numpy(), whole.numpy()[2:5])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_initial_distributions(dtype):
    w = values(nn.Linear(100, 400, seed=0, dtype=dtype))
    assert w["weight"].dtype == dtype and w["bias"].dtype == dtype
    assert 0.0995 < np.abs(w["weight"]).max() <= 0.1 and np.abs(w["weight"].mean()) < 1e-3
    assert w["weight"].std() == pytest.approx(0.1 / 3**0.5, rel=0.02)
    conv = values(nn.Conv2d(4, 500, (3, 2), seed=0))["weight"]
    assert conv.shape == (500, 4, 3, 2) and 0.2 < np.abs(conv).max() <= 24**-0.5
    table = values(nn.Embedding(300, 100, seed=0))["weight"]
    assert table.std() == pytest.approx(1, rel=0.02)
    norm = values(nn.LayerNorm(5, seed=0))
    assert norm["weight"].tolist() == [1] * 5 and norm["bias"].tolist() == [0] * 5
    attention = values(nn.MultiHeadAttention(32, 4, seed=0))
    assert np.abs(attention["in_proj_weight"]).max() == pytest.approx((6 / 128) ** 0.5, rel=0.01)
    assert not attention["in_proj_bias"].any() and not attention["out_proj.bias"].any()


def test_gpt_initial_values_are_gpt2s():
    w = values(nn.GPT(500, 64, 64, layers=8, heads=4, seed=0))
    assert w["tokens.weight"].std() == pytest.approx(0.02, rel=0.02)
    assert w["layers.3.linear1.weight"].std() == pytest.approx(0.02, rel=0.02)
    for residual in ("linear2.weight", "self_attn.out_proj.weight"):
        assert w[f"layers.3.{residual}"].std() == pytest.approx(0.02 / 4, rel=0.03)
    assert not any(v.any() for k, v in w.items() if k.endswith("bias"))
    assert all((v == 1).all() for k, v in w.items() if "norm" in k and k.endswith("weight"))


def test_parameters_without_values_say_so():
    net = Net()
    assert net.num_parameters() == 45 and "Linear(4 -> 3)" in repr(net)
    with pytest.raises(GraphError, match=r"\(3, 4\) has no values; call initialize\(seed\)"):
        net(Tensor(np.ones((1, 4), "f")))
    pretrained = nn.Linear(2, 2, seed=5)
    before = pretrained.state_dict()["weight"]
    both = nn.Sequential(pretrained, nn.Linear(2, 2), seed=0)
    assert np.array_equal(both.state_dict()["0.weight"], before)  # what has values keeps them
    both.initialize(0, again=True)
    assert not np.array_equal(both.state_dict()["0.weight"], before)
    with pytest.raises(GraphError, match="made from an array"):
        holder = nn.Module()
        holder.scale = nn.Parameter(np.ones(2, "f"))
        holder.initialize(0, again=True)


def test_a_list_of_modules_is_refused():
    net = nn.Module()
    with pytest.raises(OptionError, match=r"Module.blocks is a list of modules.*ModuleList"):
        net.blocks = [nn.Linear(2, 2)]
    net._kept = [nn.Linear(2, 2)]
    net.sizes = [1, 2]
    assert list(net.parameters()) == []
    with pytest.raises(NotImplementedError, match="Module has no forward"):
        net(1)


def test_train_eval_freeze_zero_grad():
    net = Net(0)
    net.eval()
    assert not any(m.training for m in net.modules())
    assert all(m.training for m in net.train().modules())
    net(Tensor(np.ones((2, 4), "f"))).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    net.first.requires_grad_(False)
    net(Tensor(np.ones((2, 4), "f"))).sum().backward()
    assert net.first.weight.grad is None and net.last.weight.grad is not None


def test_state_is_a_copy_and_loads_back():
    net, other = Net(0), Net(1)
    state = net.state_dict()
    assert all(type(v) is np.ndarray for v in state.values())
    state["first.bias"][:] = 7
    assert not (net.state_dict()["first.bias"] == 7).any()
    assert other.load_state_dict(state) == ([], [])
    assert all(np.array_equal(a, b) for a, b in zip(values(other).values(), state.values(), strict=True))
    fresh = Net()  # loading is initialising, too
    fresh.load_state_dict(state)
    assert fresh.first.weight.name == "first.weight" and fresh.state_dict()["first.bias"][0] == 7


def test_load_errors_name_keys_and_shapes_and_write_nothing():
    net = Net(0)
    before, state = net.state_dict(), Net(1).state_dict()
    state["head.weight"] = state.pop("last.weight")
    with pytest.raises(OptionError, match=r"lacks last.weight and has unknown head.weight for Net"):
        net.load_state_dict(state)
    assert net.load_state_dict({}, strict=False) == (NAMES, [])
    wrong = {**before, "first.weight": np.zeros((4, 3)), "first.bias": np.ones(3)}
    with pytest.raises(ShapeError, match=r"first.weight \(4, 3\) instead of \(3, 4\)"):
        net.load_state_dict(wrong)
    assert all(np.array_equal(a, b) for a, b in zip(values(net).values(), before.values(), strict=True))
    missing, unexpected = net.load_state_dict(state, strict=False)
    assert missing == ["last.weight"] and unexpected == ["head.weight"]
    assert np.array_equal(net.state_dict()["first.weight"], state["first.weight"])


def test_tied_parameters_count_once_and_are_saved_twice():
    gpt = nn.GPT(11, 8, 16, layers=1, heads=2, seed=0)
    untied = nn.GPT(11, 8, 16, layers=1, heads=2, seed=0, tied=False)
    assert gpt.head.weight is gpt.tokens.weight
    assert "head.weight" not in dict(gpt.named_parameters()) and "head.weight" in gpt.state_dict()
    assert untied.num_parameters() - gpt.num_parameters() == 11 * 16
    assert list(gpt.state_dict()) == list(untied.state_dict())
    with pytest.raises(OptionError, match=r"tokens\.weight and head\.weight are one parameter"):
        gpt.load_state_dict(untied.state_dict())
    untied.load_state_dict(gpt.state_dict())
    ids = asarray(np.arange(8)[None])
    assert np.array_equal(gpt(ids).numpy(), untied(ids).numpy())


def test_a_deep_copy_has_its_own_memory():
    net = Net(0)
    flat = nn.flatten(net.parameters())
    twin = copy.deepcopy(net)
    net.first.weight.data[...] = 0
    assert twin.first.weight.place is None and twin.first.weight.name == "first.weight"
    assert to_host(twin.first.weight.data).any() and not to_host(flat.data[:12]).any()
    assert nn.flatten(twin.parameters()) is not flat


def test_option_errors_of_layers():
    for make, message in [
        (lambda: nn.MLP([3]), "MLP: widths"),
        (lambda: nn.CNN((1, 3, 3)), "cannot be halved 2 times"),
        (lambda: nn.MultiHeadAttention(6, 4), "4 heads cannot share a width of 6"),
        (lambda: nn.Dropout(1.0), "p=1.0"),
    ]:
        with pytest.raises(OptionError, match=message):
            make()
    gpt = nn.GPT(5, 4, 8, layers=1, heads=2, seed=0)
    with pytest.raises(ShapeError, match="at most 4 positions"):
        gpt(asarray(np.zeros((1, 5), int)))
    with pytest.raises(ShapeError, match=r"give it the shape \(N, positions, 8\)"):
        gpt.layers[0].self_attn(Tensor(np.ones((2, 8), "f")))
