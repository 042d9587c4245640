"""Tensors that know their gradients: the engine, and operations each beside its derivative.

    x = Tensor(array, requires_grad=True)
    loss = cross_entropy(linear(x, w), labels)
    loss.backward()                                # x.grad, w.grad

An operation is a function of Tensors that returns Tensor(value, parents, vjp); write your own
the same way and check it by `gradcheck`.
"""

from mpipar.tensor import methods  # noqa: F401  gives Tensor its operators
from mpipar.tensor.activation import gelu, relu, sigmoid, tanh
from mpipar.tensor.arithmetic import (
    abs,
    add,
    div,
    exp,
    log,
    maximum,
    mul,
    neg,
    pow,
    sqrt,
    sub,
    where,
)
from mpipar.tensor.attention import attention
from mpipar.tensor.conv import conv2d
from mpipar.tensor.dropout import dropout
from mpipar.tensor.engine import Tensor, between_operations, count_uses, no_grad
from mpipar.tensor.gradcheck import gradcheck
from mpipar.tensor.indexing import index
from mpipar.tensor.join import concat, pad, stack
from mpipar.tensor.linear import linear, matmul
from mpipar.tensor.lookup import embedding
from mpipar.tensor.loss import cross_entropy, mse
from mpipar.tensor.norm import layer_norm, rms_norm
from mpipar.tensor.pooling import avg_pool2d, max_pool2d
from mpipar.tensor.reduce import max, mean, sum, var
from mpipar.tensor.self_attention import self_attention
from mpipar.tensor.shape import astype, broadcast_to, permute, reshape, transpose
from mpipar.tensor.softmax import log_softmax, softmax
from mpipar.tensor.split import backward_input

__all__ = [
    "Tensor", "abs", "add", "astype", "attention", "avg_pool2d", "backward_input", "between_operations",
    "broadcast_to", "concat", "conv2d", "count_uses", "cross_entropy", "div", "dropout", "embedding", "exp",
    "gelu", "gradcheck", "index", "layer_norm", "linear", "log", "log_softmax", "matmul", "max",
    "max_pool2d", "maximum", "mean", "mse", "mul", "neg", "no_grad", "pad", "permute", "pow", "relu",
    "reshape", "rms_norm", "self_attention", "sigmoid", "softmax", "sqrt", "stack", "sub", "sum", "tanh",
    "transpose", "var", "where",
]  # fmt: skip
