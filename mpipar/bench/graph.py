"""What the graph adds to an operation: a chain of small ones with Tensors, and the same with arrays alone.

The chain goes forward and backward on 8 numbers, where the arithmetic takes least. Other programs can
only make a chain slower: the fastest of many counts.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from mpipar.arrays import asarray, xp
from mpipar.tensor import Tensor, relu

OPERATIONS, CHAINS = 100, 300


def measure() -> dict[str, float]:
    """{"relu", "mul"}: s that the graph adds to an operation of one and of two parents, and its backward."""
    x = asarray(np.ones(8, np.float32))
    pairs = {"relu": (_relu_chain, _plain_relu_chain), "mul": (_mul_chain, _plain_mul_chain)}
    return {
        name: (_fastest(ours, x) - _fastest(plain, x)) / OPERATIONS for name, (ours, plain) in pairs.items()
    }


def _fastest(chain: Callable[[Any], Any], x: Any) -> float:
    def once() -> float:
        start = time.perf_counter()
        chain(x)
        return time.perf_counter() - start

    return min(once() for _ in range(CHAINS))


def _relu_chain(x: Any) -> Any:
    first = y = Tensor(x, requires_grad=True)
    for _ in range(OPERATIONS):
        y = relu(y)
    y.backward(x)
    return first.grad


def _plain_relu_chain(x: Any) -> Any:
    y, results, dy = x, [], x
    for _ in range(OPERATIONS):
        y = xp.maximum(y, 0)
        results.append(y)
    for y in reversed(results):
        dy = dy * (y > 0)
    return dy


def _mul_chain(x: Any) -> Any:
    first, factor = Tensor(x, requires_grad=True), Tensor(x, requires_grad=True)
    y = first
    for _ in range(OPERATIONS):
        y = y * factor
    y.backward(x)
    return first.grad, factor.grad


def _plain_mul_chain(x: Any) -> Any:
    factors, dy, dfactor = [x], x, 0
    for _ in range(OPERATIONS):
        factors.append(factors[-1] * x)
    for y in reversed(factors[:-1]):
        dfactor = dfactor + dy * y
        dy = dy * x
    return dy, dfactor
