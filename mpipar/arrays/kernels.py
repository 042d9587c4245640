"""Kernels: functions that a GPU computes in one launch and one pass over memory.

An operation of `xp` on a GPU is a launch of its own, which reads its operands from memory and writes
its result there; a chain of ten passes ten times over the numbers. A kernel states the whole chain, once,
as the text of its body in C, and is compiled when it is first called. Two kinds:

  Elementwise   each result from the operands at one place, which broadcast; CuPy's class of that name
  Rows          results that need sums or maxima over a row (normalisation, softmax)

The text is in the part of C that `fake` carries out (see fake_kernels.py), so tests on `fake` run this
very text. T stands for the arrays' dtype, float32 or float64, I for that of integer arrays; T(0.5) and
not 0.5, which is a double. NumPy arrays are not for kernels; `kernel_on_device` chooses.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, wraps
from typing import Any, NamedTuple

import numpy as np

from mpipar.arrays.backend import BACKEND, empty_like, xp
from mpipar.errors import BackendError

C_NAMES = {
    "float32": "float",
    "float64": "double",
    "bool": "bool",
    "uint8": "unsigned char",
    **{"int8": "signed char", "int16": "short", "int32": "int", "int64": "long long"},
}


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


class Parameter(NamedTuple):
    """`kind` T x: a number for every element (""), row, column, or one for all (scalar)."""

    kind: str
    type: str
    name: str


class Reduction(NamedTuple):
    """What a statement needs from a whole row: op ("sum" or "max") of a formula, known to it as `name`."""

    op: str
    formula: str
    name: str


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
    called as Elementwise; the first input is (…, n), any of them but the first may be a number
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
        x = arguments[0]
        n = x.shape[-1]
        rows = x.size // n if n else 0
        shapes = {"": x.shape, "row": x.shape[:-1], "column": (n,)}
        types = self._types(arguments)
        given = [
            self._argument(p, value, shapes, types)
            for p, value in zip([*self.parameters, *self.results], arguments, strict=False)
        ]
        if len(given) == len(self.parameters):
            given += [empty_like(x, shapes[p.kind]) for p in self.results]
        elif len(given) < len(self.parameters + self.results) or len(given) < len(arguments):
            raise TypeError(
                f"kernel {self.name}: {len(arguments)} arguments; give {len(self.parameters)} inputs, "
                f"and all of {len(self.results)} outputs or none"
            )
        if rows:
            self._launch(rows, n, types, given)
        results = tuple(given[len(self.parameters) :])
        return results[0] if len(results) == 1 else results

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        return parameters_of(self.inputs)

    @cached_property
    def results(self) -> tuple[Parameter, ...]:
        return parameters_of(self.outputs)

    @cached_property
    def statements(self) -> tuple[tuple[str, Reduction | None], ...]:
        """The statements of `row`: text, in which a reduction has become a name, and that reduction."""
        return tuple(_statement(text, k) for k, text in enumerate(split_statements(self.row)))

    def _types(self, arguments: tuple[Any, ...]) -> dict[str, np.dtype]:
        """What T and I stand for in this call."""
        types: dict[str, np.dtype] = {}
        for p, value in zip([*self.parameters, *self.results], arguments, strict=False):
            if len(p.type) > 1 or not hasattr(value, "shape"):
                continue
            if types.setdefault(p.type, value.dtype) != value.dtype:
                raise TypeError(
                    f"kernel {self.name}: {p.name} has dtype {value.dtype}, but {p.type} is {types[p.type]}"
                )
        for letter, kinds in (("T", "fd"), ("I", "bhilqBHILQ")):
            if letter in types and types[letter].char not in kinds:
                raise TypeError(f"kernel {self.name}: {letter} cannot be {types[letter]}")
        return types

    def _argument(self, p: Parameter, value: Any, shapes: dict[str, Any], types: Any) -> Any:
        dtype = types.get(p.type) or np.dtype(p.type)
        if isinstance(value, (int, float)) and p not in self.results:
            return dtype.type(value)
        if not hasattr(value, "shape") or p.kind == "scalar":
            raise TypeError(f"kernel {self.name}: {p.name} is {value!r}; give {p.kind or 'element'} values")
        if value.dtype != dtype or value.shape != shapes[p.kind]:
            raise TypeError(
                f"kernel {self.name}: {p.name} is {value.shape} {value.dtype}, not {shapes[p.kind]} {dtype}"
            )
        if value.flags.c_contiguous:
            return value
        if p in self.results:
            raise TypeError(f"kernel {self.name}: the output {p.name} is strided; give a contiguous array")
        return value.copy()

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


def threads(n: int) -> int:
    """Threads for a row of n: about 4 numbers each, from a warp of 32 up to 512."""
    return min(512, max(32, 1 << max(0, n - 1).bit_length() >> 2))


# Every thread leaves with the same result: within a warp by exchange of registers, then through `parts`.
_REDUCE = """
__device__ T all_{op}(T a_, T* parts) {{
  for (int s = 16; s > 0; s /= 2) {{
    const T b_ = __shfl_xor_sync(0xffffffffu, a_, s);
    a_ = {combined};
  }}
  if (blockDim.x == 32) return a_;
  __syncthreads();  // the last result has been read by all
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = a_;
  __syncthreads();
  a_ = parts[0];
  for (int s = 1; s < blockDim.x / 32; s++) {{
    const T b_ = parts[s];
    a_ = {combined};
  }}
  return a_;
}}
"""
COMBINED = {"sum": "a_ + b_", "max": "max(a_, b_)"}
IDENTITY = {"sum": "T(0)", "max": "T(-INFINITY)"}


def source(kernel: Rows, types: dict[str, np.dtype], numbers: tuple[bool, ...]) -> str:
    """The text of CUDA C.   numbers: for each parameter and result, whether it is one number"""
    named = list(zip([*kernel.parameters, *kernel.results], numbers, strict=True))
    inputs = [(p, number) for p, number in named if p in kernel.parameters]
    loop = "for (long long j = threadIdx.x; j < n; j += blockDim.x) {"
    element = [f"const {p.type} {p.name} = _{p.name}[{place}];" for p, place in _loads(inputs, ("", "column"))]
    element.append(kernel.given)
    body = [f"const {p.type} {p.name} = _{p.name}[i];" for p, _ in _loads(inputs, ("row",))]
    body += [f"{p.type} {p.name};" for p in kernel.results if p.kind == "row"]
    for text, reduction in kernel.statements:
        if reduction is not None:
            op, formula, name = reduction
            body.append(f"T {name} = {IDENTITY[op]};")
            step = f"{{ const T a_ = {name}, b_ = {formula}; {name} = {COMBINED[op]}; }}"
            body += [loop, *element, step, "}", f"{name} = all_{op}({name}, parts);"]
        body.append(text + ";")
    wide = [p for p in kernel.results if p.kind == ""]
    stores = [f"_{p.name}[i * n + j] = {p.name};" for p in wide]
    body += [loop, *element, *(f"{p.type} {p.name};" for p in wide), kernel.each, *stores, "}"]
    body += [f"if (threadIdx.x == 0) _{p.name}[i] = {p.name};" for p in kernel.results if p.kind == "row"]
    lines = [f"typedef {C_NAMES[dtype.name]} {letter};" for letter, dtype in types.items()]
    lines += ["#undef INFINITY", "#define INFINITY __int_as_float(0x7f800000)"]
    lines += [_REDUCE.format(op=op, combined=combined) for op, combined in COMBINED.items()]
    signature = ", ".join(_signature(p, number, p in kernel.results) for p, number in named)
    lines.append(f'extern "C" __global__ void mpipar_{kernel.name}({signature}, const long long n) {{')
    lines += ["__shared__ T parts[32];", "const long long i = blockIdx.x;", *body, "}"]
    return "\n".join(lines)


def _signature(p: Parameter, number: bool, is_result: bool) -> str:
    c_type = C_NAMES.get(p.type, p.type)
    if number:
        return f"const {c_type} {p.name}"
    return f"{c_type}* _{p.name}" if is_result else f"const {c_type}* _{p.name}"


def _loads(inputs: list[tuple[Parameter, bool]], kinds: tuple[str, ...]) -> Iterator[tuple[Parameter, str]]:
    """The arrays of these kinds among the inputs, and where in each to read."""
    for p, number in inputs:
        if p.kind in kinds and not number:
            yield p._replace(type=C_NAMES.get(p.type, p.type)), "j" if p.kind == "column" else "i * n + j"


def parameters_of(text: str) -> tuple[Parameter, ...]:
    """The parameters in "row T r, bool mask"."""
    parts = [part.split() for part in text.split(",")]
    return tuple(Parameter(" ".join(kind), type_, name) for *kind, type_, name in parts)


def split_statements(text: str) -> list[str]:
    """The statements of a text, each ended by a semicolon."""
    *statements, rest = text.split(";")
    if rest.strip():
        raise BackendError(f"kernel: {rest.strip()!r} ends without ';'")
    return [" ".join(statement.split()) for statement in statements if statement.strip()]


def _statement(text: str, number: int) -> tuple[str, Reduction | None]:
    found = re.search(r"\brow_(sum|max)\(", text)
    if found is None:
        return text, None
    depth, stop = 1, found.end()
    while depth:
        depth += {"(": 1, ")": -1}.get(text[stop], 0)
        stop += 1
    name = f"reduced{number}"
    rest = text[: found.start()] + name + text[stop:]
    if "row_" in rest:
        raise BackendError(f"kernel: {text!r} has two reductions; make two statements of them")
    return rest, Reduction(found[1], text[found.end() : stop - 1], name)
