"""The operations as data: how to call each, what to feed it, and what PyTorch calls it.

A case makes its inputs with `make(draw)`: Hypothesis draws shapes and options, and the values
follow from a drawn seed. Inputs are float64 host arrays and get gradients; `extra` holds the
rest (numbers, labels, masks). Every test of this folder that is about all operations runs
over CASES.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import mpipar.tensor as mt
from mpipar.arrays import asarray

NOT_OPERATIONS = {"Tensor", "count_uses", "gradcheck", "no_grad", "between_operations", "backward_input"}


def examples(n):
    """Hypothesis: n examples, the same in every run."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(
        max_examples=n, deadline=None, derandomize=True, database=None, suppress_health_check=slow
    )


def on_backend(extra):
    """A case's `extra` with its arrays where the backend computes."""
    return {key: asarray(v) if isinstance(v, np.ndarray) else v for key, v in extra.items()}


@dataclass(frozen=True)
class Case:
    op: str
    call: Callable[..., mt.Tensor]
    torch: Callable[..., Any]  # (torch, *tensors, **extra)
    make: Callable[[Any], tuple[list[np.ndarray], dict[str, Any]]]
    note: str = ""
    kinks: bool = False  # values that tie or touch 0 are worth a test, but have no derivative

    def __str__(self) -> str:
        return f"{self.op}-{self.note}" if self.note else self.op


size = st.integers(1, 4)
seeds = st.integers(0, 2**32 - 1)


def shapes(least=0, most=3):
    return hnp.array_shapes(min_dims=least, max_dims=most, min_side=1, max_side=4)


def values(draw, *several, positive=False):
    """Normal values, for each of the shapes."""
    rng = np.random.default_rng(draw(seeds))
    made = [np.asarray(rng.standard_normal(shape)) for shape in several]
    return [np.abs(x) + 0.3 for x in made] if positive else made


def one(positive=False, least=0, **extra):
    """One tensor; each extra is a strategy."""

    def make(draw):
        inputs = values(draw, draw(shapes(least)), positive=positive)
        return inputs, {key: draw(strategy) for key, strategy in extra.items()}

    return make


def pair(positive=False):
    """Two tensors that broadcast."""

    def make(draw):
        both = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, min_side=1, max_side=4))
        return values(draw, *both.input_shapes, positive=positive), {}

    return make


def choose_where(draw):
    three = draw(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=3, min_side=1, max_side=4))
    c, x, y = values(draw, *three.input_shapes)
    return [x, y], {"condition": np.asarray(c > 0)}


def along_dims(least=0, **extra):
    """A tensor and dims to reduce."""

    def make(draw):
        shape = draw(shapes(least))
        dims = st.none()
        if shape:
            each = st.integers(-len(shape), len(shape) - 1)
            several = st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True).map(tuple)
            dims = st.one_of(st.none(), each, several)
        given = {"dim": draw(dims), "keepdims": draw(st.booleans())}
        return values(draw, shape), given | {key: draw(strategy) for key, strategy in extra.items()}

    return make


def spread(draw):
    """For var: every reduction over two values or more."""
    shape = tuple(n + 1 for n in draw(shapes(1)))
    extra = {"dim": draw(st.sampled_from([None, 0, -1])), "keepdims": draw(st.booleans())}
    return values(draw, shape), extra | {"correction": draw(st.sampled_from([0, 1]))}


def along_dim(draw):
    shape = draw(shapes(1))
    return values(draw, shape), {"dim": draw(st.integers(-len(shape), len(shape) - 1))}


def regroup(draw):
    shape = draw(shapes())
    n = int(np.prod(shape))
    return values(draw, shape), {"shape": draw(st.sampled_from([(n,), (-1, 1), (1, n, 1), (n, -1)]))}


def reorder(draw):
    shape = draw(shapes())
    return values(draw, shape), {"dims": draw(st.none() | st.permutations(range(len(shape))).map(tuple))}


def exchange(draw):
    shape = draw(shapes(2))
    dim = st.integers(-len(shape), len(shape) - 1)
    return values(draw, shape), {"dim0": draw(dim), "dim1": draw(dim)}


def grow(draw):
    both = draw(hnp.mutually_broadcastable_shapes(num_shapes=1, max_dims=3, min_side=1, max_side=4))
    lead = draw(st.lists(size, max_size=1))
    return values(draw, *both.input_shapes), {"shape": (*lead, *both.result_shape)}


KEYS = (
    1, -1, slice(1, None), slice(None, None, 2), (0, 1), (slice(None), 2), (Ellipsis, 1), None,
    (slice(0, 2), None, slice(1, 3)), (Ellipsis, slice(0, 0)),
)  # fmt: skip


def take(draw):
    return values(draw, (3, 4, 3)), {"key": draw(st.sampled_from(KEYS))}


def take_many(draw):
    rows = np.random.default_rng(draw(seeds)).integers(-3, 3, draw(shapes(1, 2)))
    return values(draw, (3, 4)), {"rows": rows}


def several(draw):
    shape = list(draw(shapes(1)))
    dim = draw(st.integers(-len(shape), len(shape) - 1))
    parts = []
    for _ in range(draw(size)):
        shape[dim] = draw(size)
        parts.append(tuple(shape))
    return values(draw, *parts), {"dim": dim}


def alike(draw):
    shape = draw(shapes())
    return values(draw, *[shape] * draw(size)), {"dim": draw(st.integers(-1 - len(shape), len(shape)))}


def frame(draw):
    shape = draw(shapes(1))
    width = st.integers(0, 2)
    widths = [(draw(width), draw(width)) for _ in shape]
    return values(draw, shape), {"widths": widths, "value": draw(st.sampled_from([0, 1.5]))}


def products(draw):
    """Shapes that multiply: rows, matrices, stacks of them that broadcast."""
    m, k, n = draw(size), draw(size), draw(size)
    stacks = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=2, min_side=1, max_side=3))
    left, right = stacks.input_shapes
    both = draw(
        st.sampled_from(
            [
                ((m, k), (k, n)),
                ((k,), (k,)),
                ((k,), (k, n)),
                ((m, k), (k,)),
                ((*left, m, k), (*right, k, n)),
                ((*left, m, k), (k, n)),
                ((*left, m, k), (k,)),
                ((k,), (*right, k, n)),
            ]
        )
    )
    return values(draw, *both), {}


def layer(draw):
    i, o = draw(size), draw(size)
    return values(draw, (*draw(shapes(0, 2)), i), (o, i), (o,)), {}


def layer_without_bias(draw):
    inputs, extra = layer(draw)
    return inputs[:2], extra


def classified(draw):
    lead, classes = draw(shapes(0, 2)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(seeds))
    labels = np.asarray(rng.integers(0, classes, lead))
    if draw(st.booleans()) and labels.size > 1:
        labels.flat[0] = -100
    return values(draw, (*lead, classes)), {
        "labels": labels,
        "reduction": draw(st.sampled_from(["mean", "sum"])),
    }


def predicted(draw):
    shape = draw(shapes())
    return values(draw, shape, shape), {"reduction": draw(st.sampled_from(["mean", "sum"]))}


def normed(parameters):
    def make(draw):
        shape = draw(shapes(1))
        return values(draw, shape, *[shape[-1:]] * parameters), {"eps": 1e-3}

    return make


def table(draw):
    rows, ids = draw(size), draw(shapes(0, 2))
    rng = np.random.default_rng(draw(seeds))
    return values(draw, (rows, draw(size))), {"ids": np.asarray(rng.integers(0, rows, ids))}


def dropped(draw):
    shape = draw(shapes())
    (m,) = values(draw, shape)
    return values(draw, shape), {"p": draw(st.sampled_from([0, 0.25, 0.5])), "source": np.asarray(m > -0.5)}


def image(draw):
    h, w = draw(st.integers(3, 6)), draw(st.integers(3, 6))
    return draw(size), draw(size), h, w


def strides(draw):
    step = st.integers(1, 3)
    return draw(step | st.tuples(step, step))


def convolved(bias):
    def make(draw):
        x = image(draw)
        w = (draw(size), x[1], draw(st.integers(1, 3)), draw(st.integers(1, 3)))
        padding = draw(st.integers(0, 2) | st.tuples(st.integers(0, 1), st.integers(0, 2)))
        return values(draw, x, w, *[w[:1]] * bias), {"stride": strides(draw), "padding": padding}

    return make


def pooled(draw):
    kernel = draw(st.integers(2, 3) | st.tuples(st.integers(2, 3), st.integers(2, 3)))
    stride = draw(st.none()) if draw(st.booleans()) else strides(draw)
    return values(draw, image(draw)), {"kernel": kernel, "stride": stride, "padding": draw(st.integers(0, 1))}


def attended(causal):
    def make(draw):
        t, d, e = draw(size), draw(size), draw(size)
        u = t if causal else draw(size)
        stacks = draw(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=2, min_side=1, max_side=3))
        q, k, v = stacks.input_shapes
        scale = draw(st.sampled_from([None, 0.7]))
        return values(draw, (*q, t, d), (*k, u, d), (*v, u, e)), {"causal": causal, "scale": scale}

    return make


def self_attended(causal):
    def make(draw):
        heads = draw(size)
        shape = (draw(size), draw(size), 3 * heads * draw(size))
        return values(draw, shape), {
            "heads": heads,
            "causal": causal,
            "scale": draw(st.sampled_from([None, 0.7])),
        }

    return make


def torch_self_attention(t, x, heads, causal, scale):
    q, k, v = (y.unflatten(2, (heads, -1)).transpose(1, 2) for y in x.chunk(3, 2))
    y = t.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale)
    return y.transpose(1, 2).flatten(2)


def torch_reduce(name):
    def call(torch, x, dim, keepdims):
        every = tuple(range(x.ndim)) if dim is None else dim
        return getattr(torch, name)(x, dim=every, keepdim=keepdims)

    return call


def torch_cross_entropy(torch, x, labels, reduction):
    rows = x.reshape(-1, x.shape[-1])
    return torch.nn.functional.cross_entropy(rows, labels.reshape(-1), reduction=reduction)


number = {"number": st.sampled_from([2.5, -3, 1])}

CASES = [
    Case("add", mt.add, lambda t, x, y: x + y, pair()),
    Case("add", lambda x, number: x + number, lambda t, x, number: x + number, one(**number), "number"),
    Case("add", lambda x: x + x, lambda t, x: x + x, one(), "itself"),
    Case("sub", mt.sub, lambda t, x, y: x - y, pair()),
    Case("sub", lambda x, number: number - x, lambda t, x, number: number - x, one(**number), "from number"),
    Case("mul", mt.mul, lambda t, x, y: x * y, pair()),
    Case("mul", lambda x, number: number * x, lambda t, x, number: number * x, one(**number), "number"),
    Case("mul", lambda x: x * x, lambda t, x: x * x, one(), "itself"),
    Case("div", mt.div, lambda t, x, y: x / y, pair(positive=True)),
    Case(
        "div",
        lambda x, number: number / x,
        lambda t, x, number: number / x,
        one(positive=True, **number),
        "number by",
    ),
    Case("neg", mt.neg, lambda t, x: -x, one()),
    Case("pow", mt.pow, lambda t, x, p: x**p, one(positive=True, p=st.sampled_from([2, 3, -1, 0.5, 1, 0]))),
    Case("exp", mt.exp, lambda t, x: t.exp(x), one()),
    Case("log", mt.log, lambda t, x: t.log(x), one(positive=True)),
    Case("sqrt", mt.sqrt, lambda t, x: t.sqrt(x), one(positive=True)),
    Case("abs", mt.abs, lambda t, x: t.abs(x), one(), kinks=True),
    Case("maximum", mt.maximum, lambda t, x, y: t.maximum(x, y), pair(), kinks=True),
    Case(
        "where",
        lambda x, y, condition: mt.where(condition, x, y),
        lambda t, x, y, condition: t.where(condition, x, y),
        choose_where,
    ),
    Case("relu", mt.relu, lambda t, x: t.relu(x), one(), kinks=True),
    Case("tanh", mt.tanh, lambda t, x: t.tanh(x), one()),
    Case("sigmoid", mt.sigmoid, lambda t, x: t.sigmoid(x), one()),
    Case("gelu", mt.gelu, lambda t, x: t.nn.functional.gelu(x, approximate="tanh"), one()),
    Case("sum", mt.sum, torch_reduce("sum"), along_dims()),
    Case("mean", mt.mean, torch_reduce("mean"), along_dims()),
    Case("max", mt.max, torch_reduce("amax"), along_dims(), kinks=True),
    Case(
        "var",
        mt.var,
        lambda t, x, dim, keepdims, correction: t.var(x, dim, correction=correction, keepdim=keepdims),
        spread,
    ),
    Case("reshape", mt.reshape, lambda t, x, shape: x.reshape(shape), regroup),
    Case(
        "permute",
        mt.permute,
        lambda t, x, dims: x.permute(tuple(reversed(range(x.ndim))) if dims is None else dims),
        reorder,
    ),
    Case("transpose", mt.transpose, lambda t, x, dim0, dim1: x.transpose(dim0, dim1), exchange),
    Case("broadcast_to", mt.broadcast_to, lambda t, x, shape: x.expand(shape), grow),
    Case(
        "astype", lambda x: mt.astype(x * 2, x.dtype), lambda t, x: (x * 2).to(x.dtype), one(), "to its own"
    ),
    Case("index", mt.index, lambda t, x, key: x[key], take),
    Case("index", lambda x, rows: x[rows], lambda t, x, rows: x[rows], take_many, "integer array"),
    Case(
        "index",
        lambda x, rows: x[rows, 1:, None],
        lambda t, x, rows: x[rows, 1:, None],
        take_many,
        "array and slice",
    ),
    Case("concat", lambda *x, dim: mt.concat(x, dim), lambda t, *x, dim: t.cat(x, dim), several),
    Case("stack", lambda *x, dim: mt.stack(x, dim), lambda t, *x, dim: t.stack(x, dim), alike),
    Case(
        "pad",
        mt.pad,
        lambda t, x, widths, value: t.nn.functional.pad(x, sum(reversed(widths), ()), value=value),
        frame,
    ),
    Case("matmul", mt.matmul, lambda t, x, y: x @ y, products),
    Case("linear", mt.linear, lambda t, x, w, b: t.nn.functional.linear(x, w, b), layer),
    Case("linear", mt.linear, lambda t, x, w: x @ w.T, layer_without_bias, "no bias"),
    Case("softmax", mt.softmax, lambda t, x, dim: t.softmax(x, dim), along_dim),
    Case("log_softmax", mt.log_softmax, lambda t, x, dim: t.log_softmax(x, dim), along_dim),
    Case("cross_entropy", mt.cross_entropy, torch_cross_entropy, classified),
    Case(
        "mse",
        mt.mse,
        lambda t, x, y, reduction: t.nn.functional.mse_loss(x, y, reduction=reduction),
        predicted,
    ),
    Case(
        "layer_norm",
        mt.layer_norm,
        lambda t, x, w, b, eps: t.nn.functional.layer_norm(x, x.shape[-1:], w, b, eps),
        normed(2),
    ),
    Case(
        "layer_norm",
        mt.layer_norm,
        lambda t, x, eps: t.nn.functional.layer_norm(x, x.shape[-1:], eps=eps),
        normed(0),
        "alone",
    ),
    Case(
        "rms_norm",
        mt.rms_norm,
        lambda t, x, w, eps: t.nn.functional.rms_norm(x, x.shape[-1:], w, eps),
        normed(1),
    ),
    Case(
        "rms_norm",
        mt.rms_norm,
        lambda t, x, eps: t.nn.functional.rms_norm(x, x.shape[-1:], eps=eps),
        normed(0),
        "alone",
    ),
    Case(
        "embedding",
        lambda weight, ids: mt.embedding(ids, weight),
        lambda t, weight, ids: t.nn.functional.embedding(ids, weight),
        table,
    ),
    Case(
        "dropout",
        mt.dropout,
        lambda t, x, p, source: x * (source | (p == 0)) / (1 - p),
        dropped,
    ),
    Case(
        "conv2d",
        mt.conv2d,
        lambda t, x, w, b, stride, padding: t.nn.functional.conv2d(x, w, b, stride, padding),
        convolved(1),
    ),
    Case(
        "conv2d",
        mt.conv2d,
        lambda t, x, w, stride, padding: t.nn.functional.conv2d(x, w, None, stride, padding),
        convolved(0),
        "no bias",
    ),
    Case(
        "max_pool2d",
        mt.max_pool2d,
        lambda t, x, kernel, stride, padding: t.nn.functional.max_pool2d(x, kernel, stride, padding),
        pooled,
        kinks=True,
    ),
    Case(
        "avg_pool2d",
        mt.avg_pool2d,
        lambda t, x, kernel, stride, padding: t.nn.functional.avg_pool2d(x, kernel, stride, padding),
        pooled,
    ),
    *(
        Case(
            "attention",
            mt.attention,
            lambda t, q, k, v, causal, scale: t.nn.functional.scaled_dot_product_attention(
                q, k, v, is_causal=causal, scale=scale
            ),
            attended(causal),
            "causal" if causal else "",
        )
        for causal in (False, True)
    ),
    *(
        Case(
            "self_attention",
            mt.self_attention,
            torch_self_attention,
            self_attended(causal),
            "causal" if causal else "",
        )
        for causal in (False, True)
    ),
]
