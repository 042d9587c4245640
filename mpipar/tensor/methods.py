"""Operators and methods of Tensor: `x + y` is add(x, y), `x.mean(dim=0)` is mean(x, dim=0).

An operator makes a new Tensor; `x += y` binds the name x to a new one too.
"""

from mpipar.tensor.activation import relu, sigmoid, tanh
from mpipar.tensor.arithmetic import abs, add, div, exp, log, mul, neg, pow, sqrt, sub
from mpipar.tensor.engine import Tensor
from mpipar.tensor.indexing import index
from mpipar.tensor.linear import matmul
from mpipar.tensor.reduce import max, mean, sum, var
from mpipar.tensor.shape import astype, broadcast_to, permute, reshape, transpose
from mpipar.tensor.softmax import log_softmax, softmax

OPERATORS = {
    "__add__": add,
    "__radd__": lambda y, x: add(x, y),
    "__sub__": sub,
    "__rsub__": lambda y, x: sub(x, y),
    "__mul__": mul,
    "__rmul__": lambda y, x: mul(x, y),
    "__truediv__": div,
    "__rtruediv__": lambda y, x: div(x, y),
    "__neg__": neg,
    "__pow__": pow,
    "__rpow__": lambda p, x: pow(x, p),
    "__abs__": abs,
    "__matmul__": matmul,
    "__rmatmul__": lambda y, x: matmul(x, y),
    "__getitem__": index,
    "__iter__": lambda x: (x[i] for i in range(len(x))),
}

METHODS = {
    "exp": exp,
    "log": log,
    "sqrt": sqrt,
    "abs": abs,
    "pow": pow,
    "relu": relu,
    "tanh": tanh,
    "sigmoid": sigmoid,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "sum": sum,
    "mean": mean,
    "max": max,
    "var": var,
    "transpose": transpose,
    "astype": astype,
    "reshape": lambda x, *sizes: reshape(x, _one_or_several(sizes)),
    "permute": lambda x, *dims: permute(x, _one_or_several(dims)),
    "broadcast_to": lambda x, *sizes: broadcast_to(x, _one_or_several(sizes)),
    "T": property(permute),
}


def _one_or_several(sizes):
    """x.reshape((2, 3)) and x.reshape(2, 3) mean the same."""
    return sizes[0] if len(sizes) == 1 else sizes


for name, function in {**OPERATORS, **METHODS}.items():
    setattr(Tensor, name, function)
