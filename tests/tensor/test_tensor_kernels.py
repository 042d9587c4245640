"""On a device operations are kernels: which is launched, how often, and that its text is what computes."""

import dataclasses

import numpy as np
import pytest

from mpipar import nn, optim
from mpipar.arrays import BACKEND, Elementwise, Rows, asarray, to_host
from mpipar.arrays.fake import counting, launches
from mpipar.tensor import (
    Tensor,
    attention,
    attention_device,
    cross_entropy,
    dropout,
    gelu,
    kernels,
    layer_norm,
    log_softmax,
    relu,
    rms_norm,
    sigmoid,
    softmax,
    tanh,
)

pytestmark = pytest.mark.skipif(BACKEND != "fake", reason="kernels are for devices; fake stands for one")
draw = np.random.default_rng(0)


def tensor(*shape, dtype="float32"):
    return Tensor(asarray(draw.standard_normal(shape).astype(dtype)), requires_grad=True)


def both_ways(function, *inputs):
    """(launches forward, launches backward)"""
    with counting(launches) as forward:
        y = function(*inputs)
    dy = asarray(np.ones(y.shape, y.dtype))
    with counting(launches) as backward:
        y.vjp(dy)
    return forward, backward


LABELS = asarray(np.array([2, 0, 1, -100]))
MASK = asarray(np.array([True, False, True, True, False]))
# (operation, inputs, launches forward, launches backward)
BUDGETS = {
    "relu": (relu, [(4, 5)], {"maximum": 1}, {"relu_backward": 1}),
    "tanh": (tanh, [(4, 5)], {"tanh": 1}, {"tanh_backward": 1}),
    "sigmoid": (sigmoid, [(4, 5)], {"sigmoid": 1}, {"sigmoid_backward": 1}),
    "gelu": (gelu, [(4, 5)], {"gelu": 1}, {"gelu_backward": 1}),
    "dropout": (lambda x: dropout(x, 0.5, MASK), [(5,)], {"dropout": 1}, {"dropout": 1}),
    "softmax": (softmax, [(4, 5)], {"softmax": 1}, {"softmax_backward": 1}),
    "log_softmax": (log_softmax, [(4, 5)], {"log_softmax": 1}, {"log_softmax_backward": 1}),
    "layer_norm": (
        layer_norm,
        [(4, 5), (5,), (5,)],
        {"layer_norm": 1},
        {"layer_norm_backward": 1, "ones": 2, "matmul": 2},
    ),
    "rms_norm": (rms_norm, [(4, 5), (5,)], {"rms_norm": 1}, {"rms_norm_backward": 1, "ones": 1, "matmul": 1}),
    "attention": (
        lambda q, k, v: attention(q, k, v, causal=True),
        [(2, 4, 3)] * 3,
        {"gemm": 2, "attend": 1},
        {"gemm": 5, "attend_backward": 1},
    ),
}


@pytest.mark.parametrize("op", BUDGETS)
def test_launches(op):
    function, shapes, forward, backward = BUDGETS[op]
    assert both_ways(function, *(tensor(*shape) for shape in shapes)) == (forward, backward)


def test_launches_of_cross_entropy():
    forward, backward = both_ways(lambda x: cross_entropy(x, LABELS), tensor(4, 3))
    assert forward["cross_entropy"] == 1  # and the sum of the losses; the rest are checks of the labels
    assert not {"exp", "log", "subtract"} & set(forward)
    assert backward == {"multiply": 1, "cross_entropy_backward": 1}


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.SGD(p, weight_decay=0.1),
        lambda p: optim.SGD(p, momentum=0.9, nesterov=True),
        optim.AdaGrad,
        optim.Adam,
        optim.AdamW,
    ],
)
def test_an_update_of_a_whole_model_is_one_launch(make):
    model = nn.MLP([4, 8, 3], seed=0)
    optimizer = make(model.parameters())
    x = tensor(2, 4)
    for _ in range(2):
        model(x).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    model(x).sum().backward()
    with counting(launches) as seen:
        optimizer.step()
    assert sum(seen.values()) == 1


DECLARED = {
    k.name: k
    for m in (kernels, attention_device)
    for k in vars(m).values()
    if isinstance(k, (Elementwise, Rows))
}


@pytest.mark.parametrize("name", DECLARED)
def test_a_change_of_the_text_changes_the_operation(name, monkeypatch):
    """Nothing computes beside the kernel: where its text is changed, some value or gradient is another."""
    before = values_and_gradients()
    wrong = DECLARED[name]
    text = "text" if isinstance(wrong, Elementwise) else "each"
    changed = dataclasses.replace(
        wrong, **{text: getattr(wrong, text).replace("= ", "= T(2) * (", 1).replace(";", ");", 1)}
    )
    for field in dataclasses.fields(wrong):  # in the place of the first, which operations hold
        monkeypatch.setitem(vars(wrong), field.name, getattr(changed, field.name))
    for cached in ("_call", "parameters", "results", "statements"):
        vars(wrong).pop(cached, None)
    after = values_and_gradients()
    vars(wrong).pop("_call", None)
    assert any(not np.allclose(a, b) for a, b in zip(before, after, strict=True))


def values_and_gradients():
    """Of all operations with kernels."""
    rng, found = np.random.default_rng(1), []
    entropy = (lambda x: cross_entropy(x, LABELS), [(4, 3)], {}, {})
    for function, shapes, *_ in (*BUDGETS.values(), entropy):
        inputs = [Tensor(asarray(rng.standard_normal(s)), requires_grad=True) for s in shapes]
        y = function(*inputs)
        y.backward(asarray(rng.standard_normal(y.shape)))
        found += [y.numpy(), *(to_host(x.grad) for x in inputs)]
    return found


def test_half_precision_goes_without_kernels():
    x = tensor(4, 8, dtype="float16")
    weight = tensor(8, dtype="float16")
    with counting(launches) as seen:
        y = gelu(layer_norm(softmax(x), weight))
        y.backward(asarray(np.ones((4, 8), "float16")))
        attention(x, x, x).backward(asarray(np.ones((4, 8), "float16")))
    assert not set(seen) & set(DECLARED)
    assert x.grad.dtype == weight.grad.dtype == "float16"


def test_scores_of_attention_are_bounded(monkeypatch):
    """256 MiB of the scores of 96 heads, and of 256 queries of each: three blocks of 1024 by 1024."""
    monkeypatch.setattr(attention_device, "SCORES", 256 << 20)
    q = np.broadcast_to(np.float32(0), (96, 1024, 64))
    assert [block[:2] for block in attention_device._blocks(q, q, False)] == [
        (slice(0, 64), slice(0, 1024)),
        (slice(64, 128), slice(0, 1024)),
    ]
    causal = list(attention_device._blocks(q, q, True))
    assert [block[2].stop for block in causal] == [1024, 768, 512, 256]
    assert all((b[1].stop - b[1].start) * b[2].stop * 96 * 4 <= 256 << 20 for b in causal)
    long = np.broadcast_to(np.float32(0), (2, 1 << 15, 64))
    assert all(
        (b[1].stop - b[1].start) * (1 << 15) * 4 <= 256 << 20
        for b in attention_device._blocks(long, long, False)
    )
