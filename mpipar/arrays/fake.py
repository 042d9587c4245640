"""A strict stand-in for CuPy: no GPU needed, and no mercy for what a GPU would refuse.

`FakeArray` is not an ndarray; it wraps one and computes on the host. It raises wherever
CuPy raises or would silently wait for the device: mixing with host arrays, `np.asarray`,
`float()`, `bool()`, pickling, being handed to MPI. The explicit crossings `get` and `set`
are counted in `counts`.

Whoever reads an array from another stream than its writer's without an event in between, or
on the host before the copy is done, finds NaN (the least value for integers), as a race on a
real GPU might; see fake_streams.py. So a missing synchronisation fails a test.

`xp.name` is offered only for the names in `OFFERED`, each of which CuPy has.
"""

from collections import Counter
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np

from mpipar.arrays.fake_streams import Event, Memory, Stream, counts, current_stream
from mpipar.errors import BackendError

launches: Counter[str] = Counter()  # operations that a GPU computes by a kernel or more, by name

OFFERED = frozenset(
    """abs absolute add all allclose amax amin any arange argmax argmin argsort array asarray
    ascontiguousarray atleast_1d bitwise_and bitwise_or bitwise_xor bool_ broadcast_to
    ceil clip concatenate copyto cos count_nonzero cumsum diag divide dot dtype e einsum empty
    empty_like equal exp expand_dims expm1 eye finfo flip float16 float32 float64 floor
    floor_divide full full_like greater greater_equal iinfo inf int16 int32 int64 int8 isfinite
    isinf isnan isnan isscalar ix_ less less_equal linspace log log1p logical_and logical_not
    logical_or matmul max maximum mean min minimum moveaxis multiply nan negative newaxis
    not_equal ones ones_like outer pad pi power prod promote_types ravel reciprocal repeat reshape
    result_type roll sign sin split sqrt square squeeze stack subtract sum swapaxes take
    take_along_axis tanh tensordot tile transpose tril triu true_divide uint16 uint32 uint64
    uint8 unique var std where zeros zeros_like array_equal array_split vstack hstack
    put_along_axis remainder broadcast_arrays may_share_memory shares_memory""".split()
)


class FakeArray(np.lib.mixins.NDArrayOperatorsMixin):
    """See the module's docstring. Methods are those of cupy.ndarray that mpipar may use."""

    __slots__ = ("__weakref__", "_host", "_memory")

    def __init__(self, host: np.ndarray, memory: Memory | None = None) -> None:
        stream = current_stream()
        self._host = host
        self._memory = memory or Memory(stream, stream.issue())

    # ---- what a GPU refuses
    def __array__(self, *args: object, **kwargs: object) -> None:
        raise TypeError(
            "fake: a device array does not turn into a host array by itself; call arrays.to_host(x)"
        )

    def _refuse_scalar(self, *_: object) -> None:
        raise TypeError(
            "fake: float(), int(), bool() and iteration make the host wait for the device in "
            "silence; call arrays.to_host(x) where the wait is meant"
        )

    __float__ = __int__ = __bool__ = __index__ = __complex__ = __iter__ = __contains__ = _refuse_scalar

    def __reduce_ex__(self, protocol: object) -> None:
        raise TypeError("fake: a device array cannot be pickled; send it as a buffer, or call to_host")

    def __deepcopy__(self, memo: object) -> "FakeArray":
        return self.copy()

    # ---- explicit crossings
    def get(
        self, stream: Stream | None = None, order: str = "C", out: Any = None, blocking: bool = True
    ) -> np.ndarray:
        """To the host. With blocking=False `out` holds garbage until the stream is waited for."""
        counts["device to host"] += 1
        stream = stream or current_stream()
        values = np.array(_read(self, stream), order=order)
        if out is None:
            out = np.empty_like(values)
        elif out.shape != self.shape or out.dtype != self.dtype:
            raise TypeError(f"fake: get(out=) wants {self.shape} {self.dtype}, got {out.shape} {out.dtype}")
        out[...] = garbage(out.dtype)
        done = stream.record()
        done.number = stream.issue(lambda: np.copyto(out, values))
        if blocking:
            done.synchronize()
        return out

    def set(self, host: np.ndarray, stream: Stream | None = None) -> None:
        """From the host. `host` must not change until the stream is waited for."""
        if not isinstance(host, np.ndarray) or host.shape != self.shape or host.dtype != self.dtype:
            raise TypeError(f"fake: set wants a host array {self.shape} {self.dtype}")
        if not self._host.flags.c_contiguous:
            raise RuntimeError("fake: set wants a contiguous array to write to, as CuPy does")
        counts["host to device"] += 1
        stream = stream or current_stream()
        self._host[...] = garbage(self.dtype)
        number = stream.issue(lambda: np.copyto(self._host, host))
        self._memory.copies.append((self._host, stream, number))

    # ---- computing
    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *args: Any, **kwargs: Any) -> Any:
        if method == "at":
            return _Ufunc(ufunc).at(*args)
        return _compute(getattr(ufunc, method), args, kwargs, name=ufunc.__name__)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function.__name__ not in OFFERED | {"sliding_window_view", "as_strided"}:
            raise BackendError(
                f"fake: numpy.{function.__name__} of a device array; look up whether CuPy has it "
                "and add it to OFFERED in mpipar/arrays/fake.py"
            )
        return _compute(function, args, kwargs)

    def __getitem__(self, index: Any) -> "FakeArray":
        return _compute(lambda x, index: x[_wrapped(index, x.shape)], (self, _no_lists(index)), {})

    def __setitem__(self, index: Any, value: Any) -> None:
        def write(x: np.ndarray, index: Any, value: Any) -> None:
            x[_wrapped(index, x.shape)] = value

        _compute(write, (self, _no_lists(index), value), {}, writes_first=True)

    def __len__(self) -> int:
        return len(self._host)

    def __repr__(self) -> str:
        return f"FakeArray(shape={self.shape}, dtype={self.dtype})"

    def __getattr__(self, name: str) -> Any:
        if name in _ATTRIBUTES:
            return getattr(self._host, name)
        if name not in _METHODS:
            raise AttributeError(f"fake: mpipar does not use cupy.ndarray.{name}; see arrays/fake.py")
        method = getattr(np.ndarray, name)
        return lambda *args, **kwargs: _compute(
            method, (self, *args), kwargs, writes_first=name in ("fill", "sort")
        )

    @property
    def T(self) -> "FakeArray":
        return self.transpose()


_ATTRIBUTES = frozenset("shape dtype ndim size nbytes itemsize strides flags".split())
_METHODS = frozenset(
    """all any argmax argmin argsort astype clip copy cumsum dot fill flatten max mean min prod ravel
    repeat reshape sort squeeze std sum swapaxes take transpose var view""".split()
)


def _no_lists(index: Any) -> Any:
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(part, list) for part in parts):
        raise TypeError("fake: a list as index is copied to the device in silence; use xp.asarray")
    return index


def _wrapped(index: Any, shape: tuple[int, ...]) -> Any:
    """Integer arrays in an index modulo the length of their dim, as CuPy has it; but not a race's garbage."""
    parts = index if isinstance(index, tuple) else (index,)
    used = [0 if p is None or p is Ellipsis else p.ndim if _is_mask(p) else 1 for p in parts]
    dim, found = 0, []
    for part, dims in zip(parts, used, strict=True):
        if isinstance(part, np.ndarray) and part.dtype.kind in "iu" and shape[dim]:
            part = np.where(part == garbage(part.dtype), part, part % shape[dim]) if part.size else part
        dim += len(shape) - sum(used) if part is Ellipsis else dims
        found.append(part)
    return tuple(found) if isinstance(index, tuple) else found[0]


def garbage(dtype: np.dtype) -> Any:
    """What an unsynchronised read finds: NaN, or the least integer."""
    if dtype.kind == "b":
        return False
    return np.nan if dtype.kind in "fc" else np.iinfo(dtype).min


def _is_mask(part: Any) -> bool:
    return isinstance(part, np.ndarray) and part.dtype.kind == "b"


def _read(x: FakeArray, stream: Stream) -> np.ndarray:
    """x's values as `stream` may see them: garbage where no order with the writer holds."""
    writers = x._memory.writers(x._host)
    if not all(stream.is_behind(writer, number) for writer, number in writers):
        return np.full(x.shape, garbage(x.dtype), x.dtype)
    for writer, number in writers:
        writer.run_copies(number)
    return x._host


def _compute(
    function: Any, args: Any, kwargs: Any, writes_first: bool = False, name: str | None = None
) -> Any:
    """Call a NumPy function on the arrays inside; every array it returns is a device array.

    name: of the launch, the function's unless given
    """
    stream = current_stream()
    written = list(kwargs["out"]) if isinstance(kwargs.get("out"), tuple) else [kwargs.get("out")]
    written = [x for x in [*written, args[0] if writes_first else None] if isinstance(x, FakeArray)]
    known: list[FakeArray] = []

    def inside(x: Any) -> Any:
        if isinstance(x, FakeArray):
            known.append(x)
            # a target is written in place, so its real memory is passed on
            return x._host if any(x is w for w in written) else _read(x, stream)
        if isinstance(x, np.ndarray):
            raise TypeError(
                f"fake: a host array of shape {x.shape} meets a device array; copy it with arrays.asarray"
            )
        if isinstance(x, (list, tuple)):
            return type(x)(map(inside, x))
        if isinstance(x, slice):
            return slice(*map(inside, (x.start, x.stop, x.step)))
        return x

    for x in written:  # a partial write keeps the rest, so it must see what is there
        seen = _read(x, stream)
        if seen is not x._host:
            x._host[...] = seen
    with np.errstate(all="ignore"):  # a GPU divides by 0 and says nothing
        result = function(*map(inside, args), **{key: inside(value) for key, value in kwargs.items()})
    for x in written:
        x._memory.stream, x._memory.number = stream, stream.issue()
    device = _wrap(result, known)
    name = name or function.__name__
    is_new = isinstance(device, FakeArray) and all(device._memory is not x._memory for x in known)
    launches[name] += bool(written) or (is_new and not name.startswith("empty"))
    return device


def _wrap(result: Any, known: list[FakeArray]) -> Any:
    if isinstance(result, tuple):
        return tuple(_wrap(x, known) for x in result)
    if isinstance(result, list):
        return [_wrap(x, known) for x in result]
    if not isinstance(result, (np.ndarray, np.generic)):
        return result
    for x in known:
        if result is x._host:
            return x
        if isinstance(result, np.ndarray) and np.may_share_memory(result, x._host):
            return FakeArray(result, x._memory)
    return FakeArray(np.asarray(result))


class _Ufunc:
    """A ufunc for device arrays, with the methods CuPy's have."""

    def __init__(self, ufunc: np.ufunc) -> None:
        self._ufunc = ufunc
        self.__name__ = ufunc.__name__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _compute(self._ufunc, args, kwargs)

    def at(self, target: FakeArray, *args: Any) -> None:
        def write(x: np.ndarray, index: Any, *values: Any) -> None:
            self._ufunc.at(x, _wrapped(index, x.shape), *values)

        _compute(write, (target, *args), {}, writes_first=True, name=self.__name__)

    def reduce(self, x: FakeArray, **kwargs: Any) -> Any:
        return _compute(self._ufunc.reduce, (x,), kwargs)


class _Namespace:
    """What `import cupy as xp` gives."""

    ndarray = FakeArray
    __version__ = "fake"
    lib = SimpleNamespace(
        stride_tricks=SimpleNamespace(
            sliding_window_view=lambda *a, **k: _compute(np.lib.stride_tricks.sliding_window_view, a, k),
            as_strided=lambda *a, **k: _compute(np.lib.stride_tricks.as_strided, a, k),
        )
    )
    cuda = SimpleNamespace(
        Stream=Stream,
        Event=Event,
        get_current_stream=current_stream,
        Device=lambda number=0: SimpleNamespace(id=number, use=lambda: None),
        runtime=SimpleNamespace(getDeviceCount=lambda: 1),
    )

    def __getattr__(self, name: str) -> Any:
        if name not in OFFERED or not hasattr(np, name):
            raise BackendError(
                f"fake: xp.{name} is not in the list of names checked against CuPy; look it up "
                "and add it to OFFERED in mpipar/arrays/fake.py"
            )
        found = getattr(np, name)
        if isinstance(found, np.ufunc):
            return _Ufunc(found)
        if isinstance(found, type) or not callable(found) or name in _HOST_ONLY:
            return found
        return lambda *args, **kwargs: _compute(found, args, kwargs)

    @staticmethod
    def asarray(x: Any, dtype: Any = None) -> FakeArray:
        """From the host: an explicit copy, counted."""
        if isinstance(x, FakeArray):
            return x if dtype is None or x.dtype == np.dtype(dtype) else x.astype(dtype)
        counts["host to device"] += isinstance(x, np.ndarray)
        return FakeArray(np.array(x, dtype=dtype))

    @staticmethod
    def array(x: Any, dtype: Any = None, copy: bool = True) -> FakeArray:
        fresh = _Namespace.asarray(x, dtype)
        return fresh.copy() if fresh is x and copy else fresh


_HOST_ONLY = frozenset("dtype finfo iinfo result_type promote_types isscalar".split())
namespace = _Namespace()


@contextmanager
def counting(what: Counter[str] = counts):
    """Counts of copies and waits inside the block: `with counting() as c: ...; c["wait"]`; or of launches."""
    before = Counter(what)
    inside: Counter[str] = Counter()
    yield inside
    inside.update(what - before)
