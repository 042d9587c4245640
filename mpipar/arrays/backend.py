"""The choice of array library, made once when mpipar is imported.

CuPy where it is installed and sees a GPU, else NumPy; MPIPAR_BACKEND=numpy|fake|cupy
decides otherwise. `import cupy` succeeds without a GPU and the first real use fails,
so the choice asks `cupy.is_available()` instead of trying the import.
"""

import importlib
import importlib.util
from types import ModuleType
from typing import Any

import numpy as np

from mpipar.arrays.memory import keep_freed_memory
from mpipar.errors import BackendError
from mpipar.settings import settings

OFFERED = ("numpy", "fake", "cupy")
SORTED, WIDE = 1 << 14, 8  # numbers, and numbers a row, from which on sorting pays


def choose(wanted: str | None) -> tuple[str, Any]:
    """The backend's name and its namespace.   errors: BackendError with what would work."""
    if wanted is not None and wanted not in OFFERED:
        raise BackendError(
            f"MPIPAR_BACKEND={wanted!r} is unknown; choose one of {', '.join(OFFERED)}, or unset it"
        )
    if wanted == "fake":
        fake = importlib.import_module("mpipar.arrays.fake")
        return "fake", fake.namespace
    cupy = _usable_cupy() if wanted in (None, "cupy") else None
    if cupy is not None:
        return "cupy", cupy
    if wanted == "cupy":
        raise BackendError(
            "MPIPAR_BACKEND=cupy, but CuPy is not installed or sees no GPU; install it with "
            "pip install 'mpipar[cuda12]' (or cuda13), check nvidia-smi, or set MPIPAR_BACKEND=numpy"
        )
    return "numpy", np


def _usable_cupy() -> ModuleType | None:
    if importlib.util.find_spec("cupy") is None:
        return None
    cupy = importlib.import_module("cupy")
    return cupy if cupy.is_available() else None


BACKEND, xp = choose(settings().backend)
keep_freed_memory()


def on_device(x: Any) -> bool:
    """True for an array that lives where the host cannot read it (CuPy or fake)."""
    return BACKEND != "numpy" and isinstance(x, xp.ndarray)


def is_array(x: Any) -> bool:
    """True for a NumPy array or one of this process's backend."""
    return isinstance(x, (np.ndarray, xp.ndarray))


def asarray(x: Any, dtype: Any = None) -> Any:
    """x as an array of the backend: a copy to the device where x lies on the host."""
    return xp.asarray(x, dtype=dtype)


def empty_like(x: Any, shape: tuple[int, ...] | None = None) -> Any:
    """A new array where x lives, of x's dtype and x's shape or the given one; no values yet."""
    return (np if isinstance(x, np.ndarray) else xp).empty(x.shape if shape is None else shape, x.dtype)


def overlap(x: Any, y: Any) -> bool:
    """Whether writing to one array may change the other."""
    if x is y:
        return True
    on_host = isinstance(x, np.ndarray)
    if on_host != isinstance(y, np.ndarray):
        return False
    return bool((np if on_host else xp).may_share_memory(x, y))


def same_place(x: Any, y: Any) -> bool:
    """Whether two contiguous host arrays of one size are the same memory; False on a device."""
    if not (isinstance(x, np.ndarray) and isinstance(y, np.ndarray)) or x.nbytes != y.nbytes:
        return False
    whole = x.flags.c_contiguous and y.flags.c_contiguous
    return whole and x.__array_interface__["data"][0] == y.__array_interface__["data"][0]


def add_at(target: Any, index: Any, values: Any) -> None:
    """target[index] += values, adding up where an index repeats."""
    xp.add.at(target, index, values)


def add_rows(target: Any, ids: Any, rows: Any) -> None:
    """target[ids] += rows, adding up where a row of the target is named more than once.

    shapes: ids (…,), rows (…, width), target (count, width)
    cost: on the host many rows are sorted by id and summed in runs, in pairs and not one after the
      other; a third of the time of add_at
    """
    if on_device(target) or rows.size < SORTED or rows.shape[-1] < WIDE:
        add_at(target, ids, rows)
        return
    order = np.argsort(ids, axis=None, kind="stable")
    ids = ids.reshape(-1)[order]
    first = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]])
    target[ids[first]] += np.add.reduceat(rows.reshape(len(ids), -1)[order], first, axis=0)


def use_device_of(local_rank: int) -> int | None:
    """Select GPU (local_rank mod GPUs of this node) before the first allocation.

    local_rank: this rank's number among the ranks of its node.   returns: the GPU's number,
    None on the host. Several ranks share a GPU where there are fewer GPUs than ranks.
    """
    if BACKEND == "numpy":
        return None
    device = local_rank % xp.cuda.runtime.getDeviceCount()
    xp.cuda.Device(device).use()
    return device


def event_now(x: Any) -> Any:
    """What a stream waits for that is to come after all that x's device was asked for; None on the host."""
    return xp.cuda.get_current_stream().record() if on_device(x) else None


def describe() -> str:
    """The backend in words, for `mpipar doctor` and the trace's header."""
    if BACKEND == "cupy":
        properties = xp.cuda.runtime.getDeviceProperties(xp.cuda.Device().id)
        return f"CuPy {xp.__version__} on {properties['name'].decode()}"
    if BACKEND == "fake":
        return "fake (strict stand-in for CuPy, computing on the host)"
    return f"NumPy {np.__version__}"
