"""Every kernel compiles for the GPUs in use, as CuPy would have it compiled. Needs CuPy and NVRTC, no GPU."""

import importlib.util
import itertools

import numpy as np
import pytest

from mpipar.arrays.kernel_text import parameters_of, source
from mpipar.arrays.kernels import Elementwise, Rows
from mpipar.optim import kernels as of_optimizers
from mpipar.tensor import attention_device
from mpipar.tensor import kernels as of_operations

KERNELS = [
    kernel
    for module in (of_operations, attention_device, of_optimizers)
    for kernel in vars(module).values()
    if isinstance(kernel, (Elementwise, Rows))
]


def test_all_are_found_and_names_are_unique():
    names = [kernel.name for kernel in KERNELS]
    assert len(names) == len(set(names)) > 20


def numbers_and_arrays(kernel):
    """For each parameter and result, whether it is a number: all ways in which it may be called."""
    inputs, results = parameters_of(kernel.inputs), parameters_of(kernel.outputs)
    rest = inputs[1:]
    ways = [
        [True] if p.kind == "scalar" else [False] if p.kind == "" and p.type == "T" else [False, True]
        for p in rest
    ]
    return [(False, *way, *[False] * len(results)) for way in itertools.product(*ways)]


def sources_of(kernel, dtype):
    types = {"T": np.dtype(dtype), "I": np.dtype(np.int64)}
    if isinstance(kernel, Rows):
        return [source(kernel, types, numbers) for numbers in numbers_and_arrays(kernel)]
    return [of_elementwise(kernel, types, contiguous) for contiguous in (True, False)]


def of_elementwise(kernel, types, contiguous):
    """What cupy.ElementwiseKernel compiles for arrays of these types, and numbers for all but the first."""
    import cupy
    from cupy._core import _carray, _kernel, _scalar

    made = cupy.ElementwiseKernel(kernel.inputs, kernel.outputs, kernel.text, "mpipar_" + kernel.name)
    arrays = {p.name for p in (parameters_of(kernel.inputs)[0], *parameters_of(kernel.outputs))}
    arrays |= {p.name for p in parameters_of(kernel.inputs) if not contiguous and p.type in ("T", "I")}
    infos = []
    for p in parameters_of(kernel.inputs) + parameters_of(kernel.outputs):
        dtype = types.get(p.type) or np.dtype(p.type)
        if p.name in arrays:
            shape = (1, True, True) if contiguous else (2, False, False)
            infos.append(_kernel._ArgInfo(1, cupy.ndarray, dtype, *shape))
        else:
            infos.append(_kernel._ArgInfo(3, _scalar.CScalar, dtype, 0, True, True))
    infos.append(_kernel._ArgInfo(2, _carray.Indexer, None, 1 if contiguous else 2, True, True))
    letters = {p.type for p in parameters_of(kernel.inputs) + parameters_of(kernel.outputs)} & set(types)
    type_map = _kernel._TypeMap(tuple((letter, types[letter]) for letter in sorted(letters)))
    code = _kernel._get_elementwise_kernel_code(
        tuple(infos), type_map, made.params, made.operation, made.name, made.preamble
    )
    return "".join(f"#include <{name}>\n" for name in cupy._core.core._cupy_header_list) + code


@pytest.mark.skipif(
    importlib.util.find_spec("cupy") is None, reason="needs CuPy: pip install cupy-cuda12x[ctk]"
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_compiles(kernel, dtype):
    from cupy._core.core import assemble_cupy_compiler_options
    from cupy_backends.cuda.libs import nvrtc

    usual = (*assemble_cupy_compiler_options(()), "--device-as-default-execution-space")
    for text, arch in itertools.product(sources_of(kernel, dtype), ("sm_80", "sm_90")):
        program = nvrtc.createProgram(text, "kernel.cu", (), ())
        try:  # 177: a loop that needs only some of the values reads all, and the compiler leaves them out
            nvrtc.compileProgram(program, (*usual, "-arch=" + arch, "-diag-suppress=177"))
        except nvrtc.NVRTCError:
            pytest.fail(nvrtc.getProgramLog(program))
        assert nvrtc.getProgramLog(program).strip("\0\n ") == ""
        assert nvrtc.getCUBIN(program)[:4] == b"\x7fELF"
        assert dtype == "float64" or b".f64" not in nvrtc.getPTX(program)
        nvrtc.destroyProgram(program)
