"""The choice of backend, keyed random numbers and staging."""

from unittest.mock import Mock

import numpy as np
import pytest
from ranks import run_python

from mpipar import arrays
from mpipar.arrays import asarray, backend, generator, normal, to_host, uniform
from mpipar.arrays.staging import Staging, size_class
from mpipar.errors import BackendError


def test_unknown_backend_is_refused():
    with pytest.raises(BackendError, match="'tpu' is unknown; choose one of numpy, fake, cupy"):
        backend.choose("tpu")


def test_cupy_without_a_gpu_is_refused_and_not_tried_by_default(monkeypatch):
    monkeypatch.setattr(backend, "_usable_cupy", lambda: None)
    assert backend.choose(None) == ("numpy", np)
    with pytest.raises(BackendError, match=r"mpipar\[cuda12\]"):
        backend.choose("cupy")


def test_a_wrong_setting_is_one_sentence():
    run = run_python(["-c", "import mpipar.arrays"], MPIPAR_BACKEND="jax")
    assert run.returncode == 1
    assert (
        run.stderr
        == "mpipar: MPIPAR_BACKEND='jax' is unknown; choose one of numpy, fake, cupy, or unset it\n"
    )


def test_streams_depend_on_seed_and_name_alone():
    first = generator(3, "layer", 0).standard_normal(4)
    generator(3, "other").standard_normal(100)
    assert (generator(3, "layer", 0).standard_normal(4) == first).all()
    assert (generator(4, "layer", 0).standard_normal(4) != first).all()
    assert (generator(3, "layer0").standard_normal(4) != first).all()
    assert generator(0, "a").integers(1 << 30) == 347102714  # on every machine and version


def test_draws_are_rounded_from_float64():
    wide, narrow = normal(1, "w", (50,), 2.0, np.float64), normal(1, "w", (50,), 2.0)
    assert (to_host(wide).astype(np.float32) == to_host(narrow)).all()
    draw = to_host(uniform(1, "u", (1000,), -2.0, 3.0))
    assert draw.dtype == np.float32 and -2 <= draw.min() < -1.9 and 2.9 < draw.max() < 3


def test_size_classes():
    assert [size_class(n) for n in (0, 1, 4096, 4097, 1 << 20)] == [4096, 4096, 4096, 8192, 1 << 20]


def test_pinned_buffers_are_reused_by_class():
    staging = Staging()
    first = staging.lend((10, 10), np.float32)
    second = staging.lend((3,), np.float64)
    assert not np.may_share_memory(first, second)
    staging.give_back(first)
    again = staging.lend((7,), np.int64)
    assert np.may_share_memory(first, again) and again.shape == (7,)


@pytest.mark.skipif(arrays.BACKEND == "numpy", reason="there is no device to copy from")
def test_staging_round_trip_is_ordered():
    staging = Staging()
    x = asarray(np.arange(12.0).reshape(3, 4)) * 2  # computed on the current stream just now
    host = staging.to_host(x)
    assert (host == np.arange(12.0).reshape(3, 4) * 2).all()
    out = asarray(np.zeros((3, 4)))
    staging.to_device(host, out)
    host[:] = -1  # ours again: the copy must be done
    assert (to_host(out + 0) == np.arange(12.0).reshape(3, 4) * 2).all()


def test_a_copy_to_the_device_comes_after_what_reads_the_old_values(monkeypatch):
    device = Mock()
    monkeypatch.setattr("mpipar.arrays.staging.xp", device)
    Staging().to_device(np.zeros(3), device.out)
    asked = [name for name, *_ in device.mock_calls]
    before = asked[: asked.index("out.set")]
    assert before[-2:] == ["cuda.get_current_stream().record", "cuda.Stream().wait_event"]
    device.cuda.Stream().wait_event.assert_called_once_with(device.cuda.get_current_stream().record())


def test_add_at_adds_up_repeated_indices():
    x = asarray(np.zeros(3))
    arrays.add_at(x, asarray(np.array([1, 1, 2])), asarray(np.ones(3)))
    assert to_host(x).tolist() == [0, 2, 1]


@pytest.mark.parametrize("rows, width, count", [(3, 2, 5), (700, 40, 30), (600, 33, 100_000), (1, 20_000, 2)])
def test_add_rows_adds_up_repeated_ids(rows, width, count):
    draw = np.random.default_rng(rows)
    ids, values = draw.integers(0, count, (rows, 1)), draw.standard_normal((rows, 1, width))
    table = asarray(np.ones((count, width)))
    arrays.add_rows(table, asarray(ids), asarray(values))
    expected = np.ones((count, width))
    for i, row in zip(ids[:, 0], values[:, 0], strict=True):
        expected[i] += row
    assert np.allclose(to_host(table), expected, rtol=0, atol=1e-12)
