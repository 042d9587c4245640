"""Reverse-mode differentiation of a graph of array operations.

An operation y = f(x₁ … xₙ) keeps its inputs (`parents`) and a function `vjp` that maps
dL/dy to (dL/dx₁ … dL/dxₙ), the vector-Jacobian products (Griewank & Walther, Evaluating
Derivatives, 2008, ch. 3). `backward` walks the graph from the loss to the leaves:

1. count, for every tensor, how many operations use it;
2. starting at the loss, hand each operation the gradient of its result, add what its vjp
   returns to its inputs, and go on with an input once all its uses have been heard.

Operations are heard in the reverse of the order in which they were computed (as in PyTorch),
and a leaf as soon as its last use has been. So a layer's weights are complete, and their
hooks may send them, before an earlier layer is touched; and ranks that ran one program send
the messages of its backward in one order.

Both walks use a list, not recursion, so a graph of 100,000 operations does not overflow the
stack. An operation lets go of its inputs and its vjp as soon as it has been heard, so memory
is freed while the walk goes on.   cost: each vjp once, about twice the forward pass.
"""

from collections.abc import Callable
from contextlib import contextmanager
from contextvars import ContextVar
from heapq import heappop, heappush
from itertools import count
from typing import Any

import numpy as np

from mpipar.arrays import asarray, is_array, to_host, xp
from mpipar.errors import DTypeError, GraphError, ShapeError
from mpipar.trace import backward_here

Vjp = Callable[[Any], tuple[Any, ...]]  # may hold None for a parent without requires_grad

# The name of the module that computes, kept by its operations for traces; None inside no_grad, where
# no graph is kept. A context variable and not a global: virtual ranks share a process, each has its own.
computing: ContextVar[str | None] = ContextVar("computing", default="")
_between: ContextVar[tuple[Callable[[], None], ...]] = ContextVar("between", default=())
NDARRAY = xp.ndarray  # looked up for every operation
_computed = count(1)  # numbers operations in the order of the program


@contextmanager
def no_grad():
    """Inside, operations record no graph: `with no_grad(): ...`."""
    token = computing.set(None)
    try:
        yield
    finally:
        computing.reset(token)


@contextmanager
def between_operations(call: Callable[[], None]):
    """Inside, backward calls call() after each operation, so that it can do something beside."""
    token = _between.set((*_between.get(), call))
    try:
        yield
    finally:
        _between.reset(token)


class Tensor:
    """An array and, if it was computed, how to send its gradient back.

    data: array of any shape; numbers and lists become float32
    grad: an array like data after `backward`, else None; only leaves keep it
    name: the global name of a parameter, for messages and errors
    grad_buffer: where a leaf's gradient is written if set (a view into a flat buffer), see `room`
    taken: whether `room` has been given away in this backward
    module: of a result that has a vjp, the name of the module that computed it; for traces
    """

    __slots__ = (
        "__weakref__", "data", "grad", "grad_buffer", "hooks", "module", "name", "order", "parents",
        "requires_grad", "taken", "vjp",
    )  # fmt: skip
    __array_ufunc__ = None  # so that array + Tensor asks Tensor.__radd__

    def __init__(
        self,
        data: Any,
        parents: tuple["Tensor", ...] = (),
        vjp: Vjp | None = None,
        *,
        requires_grad: bool = False,
        name: str | None = None,
    ) -> None:
        self.name = name
        self.grad = self.grad_buffer = self.hooks = self.taken = None
        if vjp is None:
            self.data = _as_data(data)
            self.parents, self.vjp, self.order, self.requires_grad = (), None, 0, requires_grad
            if requires_grad and self.data.dtype.kind != "f":
                raise DTypeError(f"a tensor of dtype {self.data.dtype} has no gradient; use a float dtype")
            return
        # NumPy turns results without dims into scalars; CuPy keeps arrays, and so do we
        self.data = data if isinstance(data, NDARRAY) else xp.asarray(data)
        module = computing.get()
        if module is not None:
            for parent in parents:
                if parent.requires_grad:
                    self.parents, self.vjp, self.order, self.requires_grad = (
                        parents,
                        vjp,
                        next(_computed),
                        True,
                    )
                    self.module = module
                    return
        self.parents, self.vjp, self.order, self.requires_grad = (), None, 0, False

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def size(self) -> int:
        return self.data.size

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        label = f" {self.name}" if self.name else ""
        return f"Tensor{label}(shape={self.shape}, dtype={self.dtype}, requires_grad={self.requires_grad})"

    def numpy(self) -> np.ndarray:
        """The values on the host; from a GPU this waits for the copy."""
        return to_host(self.data)

    def item(self) -> float:
        """The one value as a Python number; from a GPU this waits for the copy."""
        if self.size != 1:
            raise ShapeError(f"item() wants one value, this tensor has shape {self.shape}; reduce it first")
        return to_host(self.data).item()

    def detach(self) -> "Tensor":
        """The same data as a leaf without a graph."""
        return Tensor(self.data)

    def room(self) -> Any:
        """Where a vjp may write its gradient of this leaf; None where it has to make an array.

        It is grad_buffer, which saves a copy, for the first that asks in a backward: of a leaf that is
        used more than once, it holds that part until the parts are added up. (A vjp that itself calls
        backward for such a leaf would overwrite it; none of ours does.)
        """
        if self.grad_buffer is None or self.grad is not None or self.taken:
            return None
        self.taken = True
        return self.grad_buffer

    def register_post_accumulate_grad_hook(self, hook: Callable[["Tensor"], None]) -> Callable[[], None]:
        """Call hook(self) in each backward as soon as this leaf's gradient is complete.

        returns: a function that removes the hook.
        """
        if self.vjp is not None:
            raise GraphError("a hook waits for a leaf's gradient; this tensor was computed from others")
        self.hooks = [*(self.hooks or []), hook]
        return lambda: self.hooks.remove(hook)

    def backward(self, grad: Any = None) -> None:
        """Add dL/dx to x.grad for every leaf x that L, this tensor, depends on.

        grad: array shaped like self, dL/dself; may be left out for one value, where it is 1
        errors: GraphError without a graph, or when the graph was already freed by a backward
        """
        seed = self._seed(grad)
        with backward_here() as enter:
            self._walk(seed, enter)

    def _walk(self, seed: Any, enter: Callable[[str], None] | None) -> None:
        """enter: to be told of the module of each operation, where a trace is recorded"""
        uses = count_uses(self)
        heard: dict[int, Any] = {}  # of a tensor with several uses: the sum of its parts so far
        ready = [(-self.order, self, seed)]  # a heap: the operation computed last is heard first
        while ready:
            _, node, gradient = heappop(ready)
            parents, vjp = node.parents, node.vjp
            if vjp is None:
                node._accumulate(gradient)
                continue
            if enter is not None:
                enter(node.module)
            node.parents, node.vjp = (), _already_freed
            for parent, part in zip(parents, vjp(gradient), strict=True):
                if not parent.requires_grad:
                    continue
                assert part is not None, f"vjp gave no gradient for {parent}"
                key = id(parent)
                uses[key] = to_come = uses[key] - 1
                if key in heard:  # not in place: a vjp may hand the same array to two parents
                    part = heard.pop(key) + part
                if to_come:
                    heard[key] = part
                elif parent.vjp is None:
                    parent._accumulate(part)
                else:
                    heappush(ready, (-parent.order, parent, part))
            for call in _between.get():
                call()

    def _seed(self, grad: Any) -> Any:
        if not self.requires_grad:
            raise GraphError(
                "backward of a tensor that depends on nothing with requires_grad=True, "
                "or was computed inside no_grad()"
            )
        if grad is not None:
            grad = asarray(grad.data if isinstance(grad, Tensor) else grad, dtype=self.dtype)
            if grad.shape != self.shape:
                raise ShapeError(f"backward: gradient {grad.shape} does not fit the tensor {self.shape}")
            return grad
        if self.size != 1:
            raise GraphError(
                f"backward of a tensor of shape {self.shape} needs its gradient; "
                "pass one, or reduce to a loss by sum() or mean()"
            )
        return xp.ones_like(self.data)

    def _accumulate(self, gradient: Any) -> None:
        assert gradient.shape == self.shape, f"vjp gave {gradient.shape} for {self}"
        self.taken = None
        if self.grad is not None:
            self.grad += gradient
        elif self.grad_buffer is not None:
            if gradient is not self.grad_buffer:
                self.grad_buffer[...] = gradient
            self.grad = self.grad_buffer
        else:
            self.grad = xp.array(gradient, dtype=self.dtype)
        for hook in tuple(self.hooks or ()):
            hook(self)


def count_uses(root: Tensor) -> dict[int, int]:
    """For every tensor below root: how many times an operation of the graph uses it."""
    uses: dict[int, int] = {}
    to_visit = [root]
    while to_visit:
        for parent in to_visit.pop().parents:
            if parent.requires_grad:
                key = id(parent)
                if key not in uses:
                    uses[key] = 0
                    to_visit.append(parent)
                uses[key] += 1
    return uses


def _already_freed(gradient: Any) -> tuple[Any, ...]:
    raise GraphError(
        "this graph was freed by an earlier backward; compute the loss again, "
        "or add both losses and call backward once"
    )


def _as_data(data: Any) -> Any:
    if isinstance(data, Tensor):
        raise DTypeError("Tensor(tensor): pass tensor.data, or use tensor.detach()")
    if not is_array(data):
        named = isinstance(data, np.generic)  # a NumPy scalar has chosen its dtype
        data = np.asarray(data)
        if data.dtype == np.float64 and not named:
            data = data.astype(np.float32)
    if data.dtype.kind not in "fiub":
        raise DTypeError(f"a tensor holds numbers, not values of dtype {data.dtype}; pass floats or integers")
    return asarray(data)
