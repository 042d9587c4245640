"""Arrays: NumPy on the host, CuPy on a GPU, or `fake`, the strict stand-in for CuPy.

`xp` is the array namespace of this process (`xp.zeros`, `xp.exp`, ...). Everything above
this package computes with `xp` and crosses between host and device only by the functions
named here, so that every copy is deliberate and counted.
"""

from mpipar.arrays.backend import (
    BACKEND,
    add_at,
    add_rows,
    asarray,
    describe,
    empty_like,
    event_now,
    is_array,
    on_device,
    overlap,
    same_place,
    use_device_of,
    xp,
)
from mpipar.arrays.cache import pieces
from mpipar.arrays.deferred import (
    check_later,
    checks_apart,
    look_at_checks,
    report_checks,
    synchronize,
    to_host,
)
from mpipar.arrays.kernels import Elementwise, Rows, has_kernels, kernel_on_device
from mpipar.arrays.products import batched_product
from mpipar.arrays.random import generator, normal, uniform
from mpipar.arrays.staging import Staging

__all__ = [
    "BACKEND",
    "Elementwise",
    "Rows",
    "Staging",
    "add_at",
    "add_rows",
    "asarray",
    "batched_product",
    "check_later",
    "checks_apart",
    "describe",
    "empty_like",
    "event_now",
    "generator",
    "has_kernels",
    "is_array",
    "kernel_on_device",
    "look_at_checks",
    "normal",
    "on_device",
    "overlap",
    "pieces",
    "report_checks",
    "same_place",
    "synchronize",
    "to_host",
    "uniform",
    "use_device_of",
    "xp",
]
