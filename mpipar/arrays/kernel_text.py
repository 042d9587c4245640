"""The text of kernels: its parts, and for kernels over rows the CUDA C that is made of it."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from mpipar.errors import BackendError

C_NAMES = {
    "float32": "float", "float64": "double", "bool": "bool",
    "int8": "signed char", "int16": "short", "int32": "int", "int64": "long long",
    "uint8": "unsigned char", "uint16": "unsigned short", "uint32": "unsigned",
    "uint64": "unsigned long long",
}  # fmt: skip


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


def source(kernel: Any, types: dict[str, np.dtype], numbers: tuple[bool, ...]) -> str:
    """The CUDA C of a kernel over rows.   numbers: for each parameter and result, whether it is one number"""
    named = list(zip([*kernel.parameters, *kernel.results], numbers, strict=True))
    inputs = [(p, number) for p, number in named if p in kernel.parameters]
    loop = "for (long long j = threadIdx.x; j < n; j += blockDim.x) {"
    element = [
        f"const {p.type} {p.name} = _{p.name}[{place}];" for p, place in _loads(inputs, ("", "column"))
    ]
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
    lines = [f"typedef {C_NAMES[types[letter].name]} {letter};" for letter in "TI" if letter in types]
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


def parse_row_statement(text: str, number: int) -> tuple[str, Reduction | None]:
    """The statement with a name in the place of its reduction, and the reduction; None where it has none."""
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
