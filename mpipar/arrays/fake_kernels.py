"""Kernels on `fake`: what CuPy checks, and the text carried out by fake_c.py on what the stream may see."""

from collections.abc import Callable
from typing import Any

import numpy as np

from mpipar.arrays.fake import FakeArray, _compute, namespace
from mpipar.arrays.fake_c import Body
from mpipar.arrays.kernel_text import Parameter, parameters_of
from mpipar.arrays.kernels import Elementwise, Rows
from mpipar.errors import BackendError


def elementwise(kernel: Elementwise) -> Callable:
    """What cupy.ElementwiseKernel makes of it."""
    inputs, outputs = parameters_of(kernel.inputs), parameters_of(kernel.outputs)

    def call(*arguments: Any) -> Any:
        if len(arguments) not in (len(inputs), len(inputs) + len(outputs)):
            raise TypeError(f"kernel {kernel.name}: {len(arguments)} arguments")
        types = _types(kernel.name, [*inputs, *outputs], arguments)
        arrays = [x for x in arguments if isinstance(x, FakeArray)]
        if not arrays:
            raise TypeError(f"kernel {kernel.name}: no array says how many elements there are")
        shape = np.broadcast_shapes(*(x.shape for x in arrays))
        out = arguments[len(inputs) :]
        if any(not isinstance(x, FakeArray) or x.shape != shape for x in out):
            raise TypeError(f"kernel {kernel.name}: outputs must be device arrays of shape {shape}")
        was_given = bool(out)
        out = out or tuple(namespace.empty(shape, _dtype(p, types)) for p in outputs)

        def run(*values: Any, out: tuple[np.ndarray, ...]) -> None:
            known = {p.name: _number(p, x, types) for p, x in zip(inputs, values, strict=True)}
            if was_given:
                known |= {p.name: x for p, x in zip(outputs, out, strict=True)}
            known["i"] = np.arange(out[0].size).reshape(shape)
            body = Body(types["T"], known, {p.name for p in outputs})
            body.run(kernel.text)
            _store(kernel.name, body, outputs, out)

        if out[0].size:
            _compute(run, arguments[: len(inputs)], {"out": out}, name=kernel.name)
        return out[0] if len(out) == 1 else out

    return call


def run_rows(kernel: Rows, rows: int, n: int, types: dict[str, np.dtype], given: list[Any]) -> None:
    """What the kernel's CUDA source does.   given: inputs and outputs, checked and complete"""
    named, first = kernel.parameters + kernel.results, len(kernel.parameters)
    shapes = {"": (rows, n), "row": (rows, 1), "column": (1, n)}

    def run(*values: Any, out: tuple[np.ndarray, ...]) -> None:
        shaped = {
            p: x if isinstance(x, np.generic) else x.reshape(shapes[p.kind])
            for p, x in zip(named, [*values, *out], strict=True)
        }
        inputs = {p: shaped[p] for p in kernel.parameters}
        elements = {p.name: x for p, x in inputs.items() if p.kind in ("", "column")}
        others = {p.name: x for p, x in inputs.items() if p.name not in elements}
        row = Body(
            types["T"], others | {"i": np.arange(rows)[:, None], "n": np.int64(n)}, _names(kernel, "row")
        )

        def over_elements() -> Body:
            known = row.values | elements | {"j": np.arange(n)[None, :]}
            body = Body(types["T"], known, _names(kernel, ""))
            body.run(kernel.given)
            return body

        for text, reduction in kernel.statements:
            if reduction is not None:
                row.values[reduction.name] = _reduced(over_elements(), *reduction[:2], shape=(rows, n))
            row.run(text + ";")
        body = over_elements()
        body.run(kernel.each)
        _store(kernel.name, body, kernel.results, [shaped[p] for p in kernel.results])

    _compute(run, given[:first], {"out": tuple(given[first:])}, name=kernel.name)


def _names(kernel: Rows, kind: str) -> set[str]:
    return {p.name for p in kernel.results if p.kind == kind}


def _reduced(body: Body, op: str, formula: str, shape: tuple[int, int]) -> Any:
    try:
        values = np.broadcast_to(body.value(formula), shape)
    except BackendError as error:
        raise BackendError(f"kernel: {error} in {formula!r}") from None
    if values.dtype != body.dtype:
        raise BackendError(f"kernel: row_{op} of {values.dtype} in {formula!r}; it is of T")
    return values.sum(axis=1, keepdims=True) if op == "sum" else np.fmax.reduce(values, axis=1, keepdims=True)


def _store(name: str, body: Body, outputs: Any, arrays: Any) -> None:
    for p, array in zip(outputs, arrays, strict=True):
        if p.name not in body.values:
            raise BackendError(f"kernel {name}: the output {p.name} is not written")
        if body.values[p.name].dtype != array.dtype:
            raise BackendError(
                f"kernel {name}: {p.name} is {array.dtype}, its value {body.values[p.name].dtype}"
            )
        array[...] = body.values[p.name]


def _types(name: str, parameters: list[Parameter], arguments: Any) -> dict[str, np.dtype]:
    """What each letter stands for; an array of another dtype is refused, as CuPy does."""
    types: dict[str, np.dtype] = {}
    for p, x in zip(parameters, arguments, strict=False):
        if isinstance(x, np.ndarray):
            raise TypeError(f"kernel {name}: {p.name} is a host array")
        if isinstance(x, FakeArray) and types.setdefault(p.type, _dtype(p, {p.type: x.dtype})) != x.dtype:
            raise TypeError(f"kernel {name}: {p.name} has dtype {x.dtype}, {p.type} is {types[p.type]}")
    return types


def _dtype(p: Parameter, types: dict[str, np.dtype]) -> np.dtype:
    return types[p.type] if len(p.type) == 1 else np.dtype(p.type)


def _number(p: Parameter, x: Any, types: dict[str, np.dtype]) -> Any:
    return x if isinstance(x, np.ndarray) else _dtype(p, types).type(x)
