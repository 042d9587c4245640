"""Parameters side by side in one buffer, their gradients in another.

    data  [ θ₁ ............ | θ₂ .... | θ₃ ......... ]      offsets = [0, 8, 12, 19]
    grad  [ ∂θ₁ ........... | ∂θ₂ ... | ∂θ₃ ........ ]

Each parameter's array is a view into `data`, and backward writes its gradient into its view
of `grad`. So a bucket of gradients *is* a slice, which an allreduce sends and receives in
place, and an optimizer updates everything in one sweep (PyTorch DDP, Li et al. 2020, copies
into buckets instead, or makes gradients views of them).
"""

from collections.abc import Iterable
from itertools import accumulate, pairwise
from typing import Any

from mpipar.arrays import xp
from mpipar.errors import DTypeError, OptionError
from mpipar.nn.parameter import Parameter


class Flat:
    """Trainable parameters of one dtype in a row; made by `flatten`.

    data, grad: 1-D arrays of the backend; grad holds stale numbers where a parameter's .grad
      is None (see zero_missing), and is None where gradients are not kept side by side
    parameters, offsets: parameter i lies at offsets[i] : offsets[i+1]
    """

    def __init__(self, parameters: list[Parameter], data: Any, grad: Any) -> None:
        self.parameters = parameters
        self.offsets = [0, *accumulate(p.size for p in parameters)]
        self.data, self.grad = data, grad

    def __len__(self) -> int:
        """How many numbers."""
        return self.offsets[-1]

    def __repr__(self) -> str:
        return f"Flat({len(self.parameters)} parameters, {len(self)} numbers of {self.data.dtype})"

    def bucket(self, start: int, stop: int) -> tuple[Any, Any]:
        """(data, grad) of the parameters start..stop-1: two views."""
        part = slice(self.offsets[start], self.offsets[stop])
        return self.data[part], self.grad[part]

    def zero_missing(self) -> None:
        """Write zeros where no gradient has arrived, so that the whole of `grad` may be summed."""
        for p in self.parameters:
            if p.grad is None:
                p.grad_buffer.fill(0)


def flatten(parameters: Iterable[Parameter]) -> Flat:
    """One Flat of all that have requires_grad, in order; a tied parameter is taken once.

    Called again with the same parameters, the same Flat. Parameters that already lie side by
    side in a larger Flat: a Flat of views into that one. Otherwise all move to a new buffer,
    and a Flat they leave holds old numbers from then on.
    cost: a copy of the parameters, and memory for as many gradients
    errors: DTypeError for several dtypes (see flatten_by_dtype); OptionError for none to train
    """
    trained = [p for p in dict.fromkeys(parameters) if p.requires_grad]
    if not trained:
        raise OptionError("flatten: no parameter has requires_grad; is the whole model frozen?")
    dtype = trained[0].dtype
    for p in trained:
        if p.dtype != dtype:
            raise DTypeError(
                f"flatten: {p} beside parameters of dtype {dtype}; a buffer has one dtype, "
                "use flatten_by_dtype"
            )
    return _existing(trained) or _new(trained, dtype)


def flatten_by_dtype(parameters: Iterable[Parameter]) -> list[Flat]:
    """A Flat for each dtype, in the order in which the dtypes first appear."""
    kinds: dict[Any, list[Parameter]] = {}
    for p in parameters:
        kinds.setdefault(p.dtype, []).append(p)
    return [flatten(same) for same in kinds.values() if any(p.requires_grad for p in same)]


def beside(p: Parameter, q: Parameter) -> bool:
    """True where q follows p in one Flat; both have a place."""
    return p.place[0] is q.place[0] and p.place[2] == q.place[1]


def move_into(parameters: list[Parameter], data: Any, grad: Any = None) -> Flat:
    """A Flat of these two 1-D buffers, into which the parameters move; a Flat they leave holds old numbers.

    grad: None: backward makes an array for each gradient, and an optimizer has a run a parameter
    """
    flat = Flat(parameters, data, grad)
    for p, (start, stop) in zip(parameters, pairwise(flat.offsets), strict=True):
        views = [None if whole is None else whole[start:stop].reshape(p.shape) for whole in (data, grad)]
        p.move(flat, start, *views)
    return flat


def _new(trained: list[Parameter], dtype: Any) -> Flat:
    size = sum(p.size for p in trained)
    return move_into(trained, xp.empty(size, dtype), xp.zeros(size, dtype))


def _existing(trained: list[Parameter]) -> Flat | None:
    if any(p.place is None for p in trained):
        return None
    flat, first, _ = trained[0].place
    if any(not beside(p, q) for p, q in pairwise(trained)):
        return None
    if len(trained) == len(flat.parameters):
        return flat
    part = slice(first, trained[-1].place[2])
    return Flat(trained, flat.data[part], flat.grad[part])
