"""The same weights give the same logits and gradients as PyTorch, loaded in both directions."""

import numpy as np
import pytest

from mpipar import nn
from mpipar.arrays import asarray, to_host
from mpipar.tensor import Tensor, cross_entropy

torch = pytest.importorskip("torch")
rng = np.random.default_rng(0)


class TorchGPT(torch.nn.Module):
    """The names that GPT documents, from PyTorch's own layers."""

    def __init__(self, vocabulary, context, width, layers, heads, tied):
        super().__init__()
        self.tokens = torch.nn.Embedding(vocabulary, width)
        self.positions = torch.nn.Embedding(context, width)
        self.layers = torch.nn.ModuleList(
            torch.nn.TransformerEncoderLayer(
                width,
                heads,
                4 * width,
                dropout=0.0,
                activation=lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
                batch_first=True,
                norm_first=True,
            )
            for _ in range(layers)
        )
        self.norm = torch.nn.LayerNorm(width)
        self.head = torch.nn.Linear(width, vocabulary, bias=False)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, ids):
        size = ids.shape[1]
        x = self.tokens(ids) + self.positions.weight[:size]
        later = torch.ones(size, size, dtype=torch.bool).triu(1)
        for layer in self.layers:
            x = layer(x, src_mask=later)
        return self.head(self.norm(x))


def torch_cnn(side):
    t = torch.nn
    return t.Sequential(
        t.Conv2d(1, 16, 3, padding=1), t.ReLU(), t.MaxPool2d(2),
        t.Conv2d(16, 32, 3, padding=1), t.ReLU(), t.MaxPool2d(2),
        t.Flatten(), t.Linear(32 * (side // 4) ** 2, 10),
    )  # fmt: skip


def torch_mlp():
    t = torch.nn
    return t.Sequential(t.Linear(64, 128), t.ReLU(), t.Linear(128, 64), t.ReLU(), t.Linear(64, 10))


def image(side):
    return rng.random((6, 1, side, side), dtype="float32")


def ids():
    return rng.integers(0, 17, (3, 12))


CASES = {
    "mlp": (
        lambda: nn.MLP([64, 128, 64, 10], seed=0),
        torch_mlp,
        lambda: image(8).reshape(6, 64),
    ),
    "cnn digits": (lambda: nn.CNN(seed=0), lambda: torch_cnn(8), lambda: image(8)),
    "cnn mnist": (lambda: nn.CNN((1, 28, 28), seed=0), lambda: torch_cnn(28), lambda: image(28)),
    "gpt tied": (
        lambda: nn.GPT(17, 16, 32, 2, 4, seed=0),
        lambda: TorchGPT(17, 16, 32, 2, 4, True),
        ids,
    ),
    "gpt untied": (
        lambda: nn.GPT(17, 16, 32, 2, 4, seed=0, tied=False),
        lambda: TorchGPT(17, 16, 32, 2, 4, False),
        ids,
    ),
}


@pytest.mark.parametrize("direction", ["from torch", "to torch"])
@pytest.mark.parametrize("case", CASES)
def test_model_equals_torch(case, direction):
    ours, theirs, inputs = CASES[case]
    ours, theirs, x = ours(), theirs(), inputs()
    if direction == "from torch":
        ours.load_state_dict(theirs.state_dict())
    else:
        state = {k: torch.from_numpy(v) for k, v in ours.state_dict().items()}
        theirs.load_state_dict(state)  # strict: the same names and shapes
    assert list(ours.state_dict()) == list(theirs.state_dict()) or "gpt" in case
    y = ours(asarray(x) if x.dtype.kind == "i" else Tensor(x))
    expected = theirs(torch.from_numpy(x))
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-5, atol=1e-5)

    labels = rng.integers(0, 10, expected.shape[:-1])
    cross_entropy(y, asarray(labels)).backward()
    last = expected.shape[-1]
    torch.nn.functional.cross_entropy(
        expected.reshape(-1, last), torch.from_numpy(labels).reshape(-1)
    ).backward()
    wanted = dict(theirs.named_parameters())
    assert sorted(wanted) == sorted(n for n, _ in ours.named_parameters())
    for name, p in ours.named_parameters():
        np.testing.assert_allclose(to_host(p.grad), wanted[name].grad.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_attention_equals_torch(causal, bias):
    theirs = torch.nn.MultiheadAttention(12, 3, bias=bias, batch_first=True, dtype=torch.float64)
    ours = nn.MultiHeadAttention(12, 3, bias, causal=causal, dtype="float64")
    ours.load_state_dict(theirs.state_dict())
    x, memory = rng.standard_normal((2, 5, 12)), rng.standard_normal((2, 7, 12))
    mask = torch.ones(5, 5, dtype=torch.bool).triu(1) if causal else None
    expected, _ = theirs(*[torch.from_numpy(x)] * 3, attn_mask=mask)
    np.testing.assert_allclose(ours(Tensor(x)).numpy(), expected.detach().numpy(), atol=1e-12)
    if causal:
        twin = nn.CausalSelfAttention(12, 3, bias, dtype="float64")
        twin.load_state_dict(theirs.state_dict())
        np.testing.assert_allclose(twin(Tensor(x)).numpy(), expected.detach().numpy(), atol=1e-12)
        return
    m = torch.from_numpy(memory)
    expected, _ = theirs(torch.from_numpy(x), m, m)
    np.testing.assert_allclose(ours(Tensor(x), Tensor(memory)).numpy(), expected.detach().numpy(), atol=1e-12)


LAYERS = {
    "linear": (lambda: nn.Linear(6, 4), lambda: torch.nn.Linear(6, 4), (3, 2, 6)),
    "linear without bias": (
        lambda: nn.Linear(6, 4, bias=False),
        lambda: torch.nn.Linear(6, 4, bias=False),
        (3, 6),
    ),
    "layer norm": (lambda: nn.LayerNorm(6), lambda: torch.nn.LayerNorm(6), (3, 6)),
    "layer norm without bias": (
        lambda: nn.LayerNorm(6, 1e-3, bias=False),
        lambda: torch.nn.LayerNorm(6, 1e-3, bias=False),
        (3, 6),
    ),
    "rms norm": (lambda: nn.RMSNorm(6), lambda: torch.nn.RMSNorm(6, eps=1e-6), (3, 6)),
    "conv": (
        lambda: nn.Conv2d(2, 3, (3, 2), stride=2, padding=(1, 0)),
        lambda: torch.nn.Conv2d(2, 3, (3, 2), stride=2, padding=(1, 0)),
        (2, 2, 7, 6),
    ),
    "pooling": (
        lambda: nn.Sequential(nn.MaxPool2d(2, 1), nn.AvgPool2d(2, padding=1)),
        lambda: torch.nn.Sequential(torch.nn.MaxPool2d(2, 1), torch.nn.AvgPool2d(2, padding=1)),
        (2, 2, 7, 6),
    ),
    "activations": (
        lambda: nn.Sequential(nn.GELU(), nn.Tanh(), nn.Sigmoid()),
        lambda: torch.nn.Sequential(torch.nn.GELU("tanh"), torch.nn.Tanh(), torch.nn.Sigmoid()),
        (3, 6),
    ),
}


@pytest.mark.parametrize("case", LAYERS)
def test_layer_equals_torch(case):
    ours, theirs, shape = LAYERS[case]
    ours, theirs, x = ours(), theirs(), rng.standard_normal(shape, dtype="float32")
    state = {k: torch.randn_like(v) for k, v in theirs.state_dict().items()}
    theirs.load_state_dict(state)
    ours.load_state_dict(state)
    expected = theirs(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(ours(Tensor(x)).numpy(), expected, rtol=1e-5, atol=1e-5)


def test_losses_equal_torch():
    logits, labels = rng.standard_normal((5, 4)), np.array([0, 3, -1, 2, 1])
    ours = nn.CrossEntropyLoss(ignore_index=-1)(Tensor(logits), asarray(labels)).item()
    theirs = torch.nn.CrossEntropyLoss(ignore_index=-1)(torch.from_numpy(logits), torch.from_numpy(labels))
    assert ours == pytest.approx(theirs.item())
    x, target = rng.standard_normal((2, 3, 4))
    for reduction in ("mean", "sum"):
        theirs = torch.nn.MSELoss(reduction=reduction)(torch.from_numpy(x), torch.from_numpy(target))
        assert nn.MSELoss(reduction)(Tensor(x), Tensor(target)).item() == pytest.approx(theirs.item())
