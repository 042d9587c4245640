"""What a reduction does with two arrays: `combine("sum")(mine, theirs)` adds theirs to mine.

All are commutative and associative up to rounding, so an algorithm may take the ranks in any
order. Where two ranks compute the same result they do it with the operands in the same order:
0 + -0 and the sum of two NaNs differ in bits otherwise. "mean" is a sum that the communicator
divides by the number of ranks at the end.
"""

from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from mpipar.arrays import xp
from mpipar.errors import OptionError


class Add(Protocol):
    """mine ← mine ∘ theirs, or out ← mine ∘ theirs; out may be either. Named for the usual case."""

    def __call__(self, mine: Any, theirs: Any, out: Any = None) -> None: ...


REDUCTIONS = ("sum", "prod", "max", "min", "mean")
_UFUNCS = {"sum": "add", "prod": "multiply", "max": "maximum", "min": "minimum", "mean": "add"}


@lru_cache
def combine(reduction: str) -> Add:
    """The in-place step mine ← mine ∘ theirs.   errors: OptionError for an unknown reduction

    its on_host: the ufunc behind it for host arrays, which takes half the time for a few numbers
    """
    if reduction not in _UFUNCS:
        raise OptionError(f"op={reduction!r} is unknown; choose one of {', '.join(REDUCTIONS)}")
    name = _UFUNCS[reduction]
    on_host, on_device = getattr(np, name), getattr(xp, name)

    def into(mine: Any, theirs: Any, out: Any = None) -> None:
        ufunc = on_host if isinstance(mine, np.ndarray) else on_device
        ufunc(mine, theirs, out=mine if out is None else out)

    into.on_host = on_host
    return into
