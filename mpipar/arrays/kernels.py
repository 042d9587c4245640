"""Kernels: functions that a GPU computes in one launch and one pass over memory.

An operation of `xp` on a GPU is a launch of its own, which reads its operands from memory and writes
its result there; a chain of ten passes ten times over the numbers. A kernel states the whole chain, once,
as the text of its body in C, and is compiled when it is first called. Two kinds:

  Elementwise   each result from the operands at one place, which broadcast; CuPy's class of that name
  Rows          results that need sums or maxima over a row (normalisation, softmax)

The text is in the part of C that `fake` carries out (see fake_c.py), so tests on `fake` run this
very text. T stands for the arrays' dtype, float32 or float64, I for that of integer arrays; T(0.5) and
not 0.5, which is a double. NumPy arrays are not for kernels; `kernel_on_device` chooses.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, wraps
from typing import Any

import numpy as np

from mpipar.arrays.backend import BACKEND, empty_like, xp
from mpipar.arrays.kernel_text import (
    Parameter,
    Reduction,
    parameters_of,
    parse_row_statement,
    source,
    split_statements,
    threads,
)

NUMBERS = (int, float, np.generic)


def kernel_on_device(kernel: Callable) -> Callable:
    """Decorator: for arrays of float32 or float64 on a device, call `kernel` with the same arguments.

    The decorated function says in NumPy's terms what the kernel does, and does it on the host.
    """

    def decorate(function: Callable) -> Callable:
        if BACKEND == "numpy":
            return function

        @wraps(function)
        def chosen(x: Any, *rest: Any) -> Any:
            return (kernel if has_kernels(x) else function)(x, *rest)

        return chosen

    return decorate


def has_kernels(x: Any) -> bool:
    """Whether kernels take x."""
    return BACKEND != "numpy" and x.dtype.char in "fd"


@dataclass(frozen=True)
class Elementwise:
    """A kernel whose text is carried out once for every element; see cupy.ElementwiseKernel.

    inputs, outputs: "T x, bool mask": the names by which the text knows an element of each
    text: may also read i, the element's number in the flattened result
    called with the inputs (arrays, which broadcast, or numbers) and, where outputs are to be written
    in place, with all of these; an output that was given may be read too
    """

    name: str
    inputs: str
    outputs: str
    text: str

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    @cached_property
    def _call(self) -> Callable:
        if BACKEND == "cupy":
            return xp.ElementwiseKernel(self.inputs, self.outputs, self.text, "mpipar_" + self.name)
        from mpipar.arrays.fake_kernels import elementwise

        return elementwise(self)


@dataclass(frozen=True)
class Rows:
    """A kernel for matrices: a block of threads for each row.

    inputs, outputs: as of Elementwise, with "row T r" for an array of a value a row, "column T w" a
      value a column and "scalar T eps" a number
    each: for every element of a row: writes the outputs; may read what `row` declares
    row: before that, for the row as a whole: declares values and writes the row outputs, of
      row_sum(formula) and row_max(formula), sums and maxima over the row, one a statement at most
    given: declarations that stand before each formula over elements
    i, j, n: number of the row and of the column, and how many columns
    called as Elementwise; the first input is (…, n), any of them but the first may be a number; an output
      for every element may be given the place of such an input
    cost: a launch. A row is read once for each reduction and once for `each`, all but the first time
      from the cache
    """

    name: str
    inputs: str
    outputs: str
    each: str
    row: str = ""
    given: str = ""
    _compiled: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    def __call__(self, *arguments: Any) -> Any:
        x, count = arguments[0], len(self.parameters)
        n = x.shape[-1]
        rows = x.size // n if n else 0
        shapes = {"": x.shape, "row": x.shape[:-1], "column": (n,)}
        types = {"T": x.dtype}
        if x.dtype.char not in "fd" or len(arguments) not in (count, count + len(self.results)):
            raise TypeError(
                f"kernel {self.name}: {len(arguments)} arguments, {x.dtype} first; give {count} inputs, "
                f"float32 or float64, and all of {len(self.results)} outputs or none"
            )
        given = [
            self._input(p, value, shapes, types) for p, value in zip(self.parameters, arguments, strict=False)
        ]
        out = arguments[count:] or tuple(empty_like(x, shapes[p.kind]) for p in self.results)
        for p, value in zip(self.results, arguments[count:], strict=False):
            self._check(p, value, shapes, types)
            if not value.flags.c_contiguous:
                raise TypeError(
                    f"kernel {self.name}: the output {p.name} is strided; give a contiguous array"
                )
        if rows:
            self._launch(rows, n, types, [*given, *out])
        return out[0] if len(out) == 1 else out

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        return parameters_of(self.inputs)

    @cached_property
    def results(self) -> tuple[Parameter, ...]:
        return parameters_of(self.outputs)

    @cached_property
    def statements(self) -> tuple[tuple[str, Reduction | None], ...]:
        """The statements of `row`: text, in which a reduction has become a name, and that reduction."""
        return tuple(parse_row_statement(text, k) for k, text in enumerate(split_statements(self.row)))

    def _input(self, p: Parameter, value: Any, shapes: dict[str, Any], types: dict[str, np.dtype]) -> Any:
        if isinstance(value, NUMBERS):
            return (types.get(p.type) or types.setdefault(p.type, _dtype(p.type))).type(value)
        self._check(p, value, shapes, types)
        return value if value.flags.c_contiguous else value.copy()

    def _check(self, p: Parameter, value: Any, shapes: dict[str, Any], types: dict[str, np.dtype]) -> None:
        if isinstance(value, NUMBERS) or p.kind == "scalar":
            raise TypeError(f"kernel {self.name}: {p.name} is a {type(value).__name__}; see its declaration")
        dtype = types.get(p.type) or types.setdefault(p.type, _dtype(p.type, value.dtype))
        if value.dtype != dtype or value.shape != shapes[p.kind]:
            raise TypeError(
                f"kernel {self.name}: {p.name} is {value.shape} {value.dtype}, not {shapes[p.kind]} {dtype}"
            )

    def _launch(self, rows: int, n: int, types: dict[str, np.dtype], given: list[Any]) -> None:
        if BACKEND != "cupy":
            from mpipar.arrays.fake_kernels import run_rows

            run_rows(self, rows, n, types, given)
            return
        numbers = tuple(isinstance(value, np.generic) for value in given)
        key = (*types.values(), numbers)
        kernel = self._compiled.get(key)
        if kernel is None:
            kernel = self._compiled[key] = xp.RawKernel(source(self, types, numbers), "mpipar_" + self.name)
        kernel((rows,), (threads(n),), (*given, np.int64(n)))


def _dtype(type_: str, found: np.dtype | None = None) -> np.dtype:
    """What a declared type stands for; I for the dtype found, which must be of integers."""
    if type_ != "I":
        return np.dtype(type_)
    return found if found is not None and found.kind in "iu" else np.dtype(np.int64)
