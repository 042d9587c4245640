"""What a reduction does with two arrays: `combine("sum")(mine, theirs)` adds theirs to mine.

All are commutative and associative up to rounding, so an algorithm may take the ranks in any
order. "mean" is a sum that the communicator divides by the number of ranks at the end.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from mpipar.arrays import xp
from mpipar.errors import OptionError

Add = Callable[[Any, Any], None]  # mine, theirs; named for the usual case

REDUCTIONS = ("sum", "prod", "max", "min", "mean")
_UFUNCS = {"sum": "add", "prod": "multiply", "max": "maximum", "min": "minimum", "mean": "add"}


def combine(reduction: str) -> Add:
    """The in-place step mine ← mine ∘ theirs.   errors: OptionError for an unknown reduction"""
    if reduction not in _UFUNCS:
        raise OptionError(f"op={reduction!r} is unknown; choose one of {', '.join(REDUCTIONS)}")
    name = _UFUNCS[reduction]
    on_host, on_device = getattr(np, name), getattr(xp, name)

    def into(mine: Any, theirs: Any) -> None:
        ufunc = on_host if isinstance(mine, np.ndarray) else on_device
        ufunc(mine, theirs, out=mine)

    return into
