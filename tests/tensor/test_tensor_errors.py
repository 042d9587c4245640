"""Mistakes end in one sentence with the operation, the values and a remedy."""

import numpy as np
import pytest

import mpipar.tensor as mt
from mpipar.arrays import BACKEND, asarray, synchronize, to_host
from mpipar.errors import BackendError, DTypeError, LabelError, MpiparError, OptionError, ShapeError
from mpipar.tensor import Tensor


def f32(*shape):
    return Tensor(asarray(np.ones(shape, np.float32)), requires_grad=True)


def f64(*shape):
    return Tensor(asarray(np.ones(shape, np.float64)))


def ints(*values):
    return Tensor(asarray(np.array(values, np.int64)))


def flags(*shape):
    return Tensor(asarray(np.ones(shape, bool)))


# operation, error, what the sentence must say
MISTAKES = {
    "broadcast": (lambda: f32(2, 3) + f32(4, 3), ShapeError, "add", "(2, 3)", "(4, 3)", "dim -2"),
    "two dtypes": (lambda: f32(2) * f64(2), DTypeError, "mul", "float32", "float64", "astype"),
    "integer division": (lambda: ints(1, 2) / ints(1, 2), DTypeError, "div", "int64", "astype"),
    "float with integers": (lambda: ints(1, 2) * 0.5, DTypeError, "mul", "0.5", "int64"),
    "bool": (lambda: flags(2) + flags(2), DTypeError, "add", "bool"),
    "list operand": (lambda: mt.add(f32(2), [1.0, 2.0]), DTypeError, "add", "list"),
    "two numbers": (lambda: mt.add(1, 2), DTypeError, "add", "two numbers"),
    "array for tensor": (lambda: mt.exp(asarray(np.ones(2))), DTypeError, "exp", "Tensor(...)"),
    "exp of integers": (lambda: ints(1).exp(), DTypeError, "exp", "int64", "(1,)"),
    "tensor exponent": (lambda: f32(2) ** f32(2), DTypeError, "pow", "(2,)", "exp(p * log(x))"),
    "tensor exponent of a number": (lambda: 2 ** f32(2), DTypeError, "pow", "(2,)"),
    "word exponent": (lambda: f32(2) ** "2", DTypeError, "pow", "str"),
    "condition": (lambda: mt.where(f32(2), f32(2), f32(2)), DTypeError, "where", "float32"),
    "condition shape": (lambda: mt.where(flags(3), f32(2), 0), ShapeError, "where", "(3,)", "(2,)"),
    "dim": (lambda: f32(2, 3).sum(dim=2), ShapeError, "sum", "dim 2", "2 dims", "-2 to 1"),
    "dim of nothing": (lambda: f32().softmax(), ShapeError, "softmax", "dim -1", "none"),
    "dim twice": (lambda: f32(2, 3).mean(dim=(0, -2)), ShapeError, "mean", "twice"),
    "no dim": (lambda: f32(2, 3).sum(dim=()), ShapeError, "sum", "()", "None for all"),
    "dim in words": (lambda: f32(2).sum(dim="rows"), ShapeError, "sum", "'rows'"),
    "mean of nothing": (lambda: f32(0, 3).mean(dim=0), ShapeError, "mean", "(0, 3)"),
    "max of nothing": (lambda: f32(0).max(), ShapeError, "max", "(0,)"),
    "var of one": (lambda: f32(1, 3).var(dim=0), ShapeError, "var", "correction"),
    "softmax of nothing": (lambda: f32(2, 0).softmax(), ShapeError, "softmax", "(2, 0)"),
    "reshape": (lambda: f32(2, 3).reshape(4, 2), ShapeError, "reshape", "6", "(2, 3)", "(4, 2)"),
    "reshape rest": (lambda: f32(2, 3).reshape(4, -1), ShapeError, "reshape", "(4, -1)"),
    "reshape two rests": (lambda: f32(2, 3).reshape(-1, -1), ShapeError, "reshape", "(-1, -1)"),
    "reshape size": (lambda: f32(2, 3).reshape(2.0, 3), ShapeError, "reshape", "2.0"),
    "permute": (lambda: f32(2, 3).permute(0, 0), ShapeError, "permute", "(0, 0)", "(2, 3)"),
    "transpose": (lambda: f32(2).transpose(), ShapeError, "transpose", "dim -2"),
    "grow": (lambda: f32(2).broadcast_to(3), ShapeError, "broadcast_to", "(2,)", "(3,)"),
    "shrink": (lambda: f32(2, 3).broadcast_to(1, 3), ShapeError, "broadcast_to", "(2, 3)", "(1, 3)"),
    "index": (lambda: f32(2, 3)[0, 3], ShapeError, "index", "3 in dim 1", "(2, 3)", "-3 … 2"),
    "indices": (lambda: f32(2)[0, 0], ShapeError, "index", "2 indices", "(2,)"),
    "dots": (lambda: f32(2)[..., ...], ShapeError, "index", "'...'"),
    "index array": (lambda: f32(2)[ints(0, 5)], LabelError, "index of dim 0", "5 at position (1,)", "-2 … 1"),
    "index arrays": (lambda: f32(4, 4)[ints(0, 1), ints(0, 1, 2)], ShapeError, "index", "(2,)", "(3,)"),
    "index list": (lambda: f32(2)[[0, 1]], DTypeError, "index", "[0, 1]", "asarray"),
    "index mask": (lambda: f32(2)[flags(2)], DTypeError, "index", "mask (2,)", "where"),
    "index float": (lambda: f32(2)[1.0], DTypeError, "index", "float"),
    "concat": (lambda: mt.concat([f32(2, 3), f32(2, 4)]), ShapeError, "concat", "(2, 3)", "(2, 4)", "dim 0"),
    "concat dtypes": (lambda: mt.concat([f32(2), f64(2)]), DTypeError, "concat", "float32", "float64"),
    "concat of none": (lambda: mt.concat([]), ShapeError, "concat", "one or more"),
    "stack": (lambda: mt.stack([f32(2), f32(3)]), ShapeError, "stack", "(2,)", "(3,)"),
    "pad": (lambda: mt.pad(f32(2, 3), [(1, 1)]), ShapeError, "pad", "[(1, 1)]", "(2, 3)"),
    "pad inwards": (lambda: mt.pad(f32(2), [(-1, 0)]), ShapeError, "pad", "(2,)"),
    "matmul": (lambda: f32(2, 3) @ f32(4, 5), ShapeError, "matmul", "(2, 3)", "(4, 5)", "3 and 4"),
    "matmul stacks": (lambda: f32(2, 3, 4) @ f32(5, 4, 3), ShapeError, "matmul", "(2,)", "(5,)"),
    "matmul number": (lambda: f32() @ f32(2), ShapeError, "matmul", "()"),
    "matmul dtypes": (lambda: f32(2, 2) @ f64(2, 2), DTypeError, "matmul", "float32", "float64"),
    "matmul integers": (lambda: ints(1) @ ints(1), DTypeError, "matmul", "int64"),
    "matmul array": (lambda: asarray(np.ones((2, 2))) @ f64(2, 2), DTypeError, "matmul", "Tensor(...)"),
    "linear": (lambda: mt.linear(f32(2, 3), f32(3, 4)), ShapeError, "x (2, 3)", "w (3, 4)", "(out, in)"),
    "linear bias": (lambda: mt.linear(f32(2, 3), f32(4, 3), f32(3)), ShapeError, "bias (3,)", "(4,)"),
    "label": (
        lambda: mt.cross_entropy(f32(3, 4), ints(0, 4, 9)),
        LabelError, "cross_entropy", "label 4 at position (1,)", "0 … 3", "there are 4 classes",
    ),
    "negative label": (lambda: mt.cross_entropy(f32(2, 4), ints(0, -1)), LabelError, "label -1 at position"),
    "label behind an ignored one": (
        lambda: mt.cross_entropy(f32(2, 3), ints(-100, 7)), LabelError, "label 7 at position (1,)",
    ),
    "float labels": (lambda: mt.cross_entropy(f32(2, 4), f32(2)), DTypeError, "label", "float32"),
    "one-hot labels": (lambda: mt.cross_entropy(f32(2, 4), f32(2, 4)), ShapeError, "(2, 4)", "classes"),
    "nothing to average": (lambda: mt.cross_entropy(f32(1, 4), ints(-100)), LabelError, "-100", '"sum"'),
    "reduction": (lambda: mt.cross_entropy(f32(1, 4), ints(1), "avg"), OptionError, "'avg'", "sum"),
    "labels as list": (lambda: mt.cross_entropy(f32(1, 4), [1]), DTypeError, "labels", "list"),
    "mse": (lambda: mt.mse(f32(3, 1), f32(3)), ShapeError, "mse", "(3, 1)", "(3,)"),
    "mse reduction": (lambda: mt.mse(f32(3), f32(3), "none"), OptionError, "mse", "'none'"),
    "layer_norm": (lambda: mt.layer_norm(f32(2, 3), f32(2)), ShapeError, "layer_norm", "weight (2,)", "(3,)"),
    "layer_norm bias": (lambda: mt.layer_norm(f32(2, 3), f32(3), f32(4)), ShapeError, "bias (4,)"),
    "rms_norm": (lambda: mt.rms_norm(f32()), ShapeError, "rms_norm", "()"),
    "id": (lambda: mt.embedding(ints(1, 7), f32(5, 2)), LabelError, "id 7 at position (1,)", "0 … 4"),
    "float ids": (lambda: mt.embedding(f32(2), f32(5, 2)), DTypeError, "embedding", "float32"),
    "table": (lambda: mt.embedding(ints(1), f32(5)), ShapeError, "embedding", "(5,)"),
    "dropout": (lambda: mt.dropout(f32(2), 1.0, flags(2)), OptionError, "dropout", "p=1.0"),
    "dropout mask": (lambda: mt.dropout(f32(2), 0.5, flags(3)), ShapeError, "dropout", "(3,)", "(2,)"),
    "dropout numbers": (lambda: mt.dropout(f32(2), 0.5, f32(2)), DTypeError, "dropout", "float32", "bool"),
    "channels": (
        lambda: mt.conv2d(f32(1, 3, 5, 5), f32(2, 4, 3, 3)),
        ShapeError, "conv2d", "(1, 3, 5, 5)", "(2, 4, 3, 3)", "one C",
    ),
    "conv2d bias": (lambda: mt.conv2d(f32(1, 3, 5, 5), f32(2, 3, 3, 3), f32(3)), ShapeError, "bias (3,)"),
    "kernel": (lambda: mt.conv2d(f32(1, 1, 2, 2), f32(1, 1, 3, 3)), ShapeError, "(3, 3)", "(2, 2)", "pad"),
    "stride": (lambda: mt.conv2d(f32(1, 1, 4, 4), f32(1, 1, 3, 3), stride=0), ShapeError, "stride 0"),
    "pooled": (lambda: mt.max_pool2d(f32(4, 4), 2), ShapeError, "max_pool2d", "(4, 4)", "(N, C, H, W)"),
    "pool padding": (lambda: mt.avg_pool2d(f32(1, 1, 4, 4), 2, padding=2), ShapeError, "(2, 2)", "half"),
    "pool kernel": (lambda: mt.avg_pool2d(f32(1, 1, 4, 4), (2, 2, 2)), ShapeError, "kernel (2, 2, 2)"),
    "attention width": (
        lambda: mt.attention(f32(2, 3), f32(2, 4), f32(2, 4)),
        ShapeError, "attention", "q (2, 3)", "k (2, 4)",
    ),
    "attention lengths": (lambda: mt.attention(f32(2, 3), f32(4, 3), f32(5, 3)), ShapeError, "v (5, 3)"),
    "attention dims": (lambda: mt.attention(f32(3), f32(3), f32(3)), ShapeError, "attention", "two dims"),
    "attention heads": (
        lambda: mt.attention(f32(2, 4, 3), f32(3, 4, 3), f32(3, 4, 3)),
        ShapeError, "attention", "(2,)", "(3,)",
    ),
    "self-attention width": (lambda: mt.self_attention(f32(1, 2, 9), 2), ShapeError, "(1, 2, 9)", "2 heads"),
    "self-attention dims": (lambda: mt.self_attention(f32(2, 6), 2), ShapeError, "(2, 6)", "(N, T, 3"),
    "no heads": (lambda: mt.self_attention(f32(1, 2, 6), 0), ShapeError, "for 0 heads"),
    "causal": (
        lambda: mt.attention(f32(2, 3), f32(4, 3), f32(4, 3), causal=True),
        ShapeError, "causal", "2 queries", "4 keys",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_its_values(mistake):
    wrong, kind, *said = MISTAKES[mistake]
    with pytest.raises(kind) as caught:
        wrong()
        synchronize()  # a device's check of ids is looked at here
    assert isinstance(caught.value, MpiparError)
    for part in said:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(BACKEND == "numpy", reason="on the host nothing lies elsewhere")
def test_host_arrays_are_not_copied_in_silence():
    host = np.ones(2, np.float32)
    for wrong in (
        lambda: f32(2) + host,
        lambda: mt.embedding(np.array([1]), f32(3, 2)),
        lambda: mt.cross_entropy(f32(1, 3), np.array([1])),
        lambda: mt.where(host > 0, f32(2), 0),
        lambda: f32(2)[np.array([1])],
    ):
        with pytest.raises(BackendError, match="asarray"):
            wrong()


@pytest.mark.skipif(BACKEND != "fake", reason="only the stand-in counts")
def test_nothing_waits_for_the_device():
    from mpipar.arrays.fake import counting

    x, w, ids = f32(4, 3), f32(5, 3), asarray(np.array([1, 2, 3, 0]))
    with counting() as quiet:
        y = mt.layer_norm(mt.gelu(mt.linear(x, f32(3, 3))))
        z = mt.softmax(y * 2.0 + 1.0) / 3.0
        mt.where(z.data > 0.1, z, 0).mean().backward()
    assert quiet["device to host"] == 0 and quiet["wait"] == 0
    with counting() as checked:
        mt.cross_entropy(mt.embedding(ids, w), ids * 0).backward()
        w[ids].sum().backward()
    assert checked["device to host"] == 0 and checked["wait"] == 0
    with counting() as looked:
        synchronize()
    assert looked == {"device to host": 1, "wait": 2}, "all checks come in one copy"


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_python_numbers_never_promote(dtype):
    for shape in ((), (3,)):
        x = Tensor(asarray(np.ones(shape, dtype)), requires_grad=True)
        yes = asarray(np.ones(shape, bool))
        results = [
            x + 1, x + 0.5, 1.5 - x, 2 * x, x / 3, 1 / x, x**2, x**0.5, x**-1.5, mt.maximum(x, 0.1),
            mt.where(yes, x, 0.25), mt.where(yes, 1, x), x + np.float64(2), x * np.float32(2),
            x - np.int64(1),
        ]  # fmt: skip
        for i, y in enumerate(results):
            assert y.dtype == dtype and y.shape == shape, (i, y)
            y.backward(asarray(np.ones(shape, dtype)))
        assert x.grad.dtype == dtype


def test_integers_stay_integers_and_carry_no_gradient():
    ids = ints(3, 1, 2)
    assert (ids + 1).dtype == np.int64 and to_host((ids * 2).data).tolist() == [6, 2, 4]
    assert ids.sum().item() == 6 and ids.max().item() == 3 and (-ids).dtype == np.int64
    assert mt.stack([ids, ids]).shape == (2, 3) and not (ids + 1).requires_grad


def test_unsigned_labels_and_ids():
    labels = asarray(np.array([1, 2], np.uint8))
    assert mt.cross_entropy(f32(2, 3), labels).item() == pytest.approx(np.log(3))
    assert mt.embedding(labels, f32(3, 2)).shape == (2, 2)
    with pytest.raises(LabelError, match="label 2 at position"):
        mt.cross_entropy(f32(2, 2), labels).item()


def test_ignored_labels_take_no_part():
    x = f32(3, 4)
    loss = mt.cross_entropy(x, ints(1, 9, 2), ignore_index=9)
    loss.backward()
    grad = to_host(x.grad)
    assert (grad[1] == 0).all() and grad[0, 1] == pytest.approx(-0.375)
    assert mt.cross_entropy(x, ints(9, 9, 9), "sum", ignore_index=9).item() == 0
    masked = Tensor(asarray(np.array([[-np.inf, 0.0], [1.0, 1.0]])))
    assert mt.cross_entropy(masked, ints(-100, 0)).item() == pytest.approx(np.log(2))
    broken = Tensor(asarray(np.array([[np.inf, np.inf], [1.0, 1.0]])), requires_grad=True)
    with np.errstate(invalid="ignore"):
        mt.cross_entropy(broken, ints(-100, 0)).backward()
    assert to_host(broken.grad).tolist() == [[0, 0], [-0.5, 0.5]]
