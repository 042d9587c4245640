"""The strict stand-in refuses what a GPU would refuse, and notices a missing synchronisation."""

import importlib.util
import pickle

import numpy as np
import pytest

from mpipar.arrays import fake
from mpipar.errors import BackendError

xp = fake.namespace


def device(values):
    return xp.asarray(np.asarray(values, float))


@pytest.mark.parametrize(
    "use",
    [
        lambda x: x + np.ones(3),
        lambda x: np.ones(3) * x,
        lambda x: xp.add(x, np.ones(3)),
        lambda x: np.add(np.ones(3), x),
        lambda x: xp.concatenate([x, np.ones(3)]),
        lambda x: x.__setitem__(0, np.ones(1)[0:1]),
        lambda x: x[np.array([0])],
        lambda x: x[[0, 1]],
        np.asarray,
        np.array,
        lambda x: float(x.sum()),
        lambda x: int(x[0]),
        lambda x: bool(x[0] > 0),
        lambda x: [1, 2, 3][x[0].astype("int64")],
        list,
        pickle.dumps,
        memoryview,
        lambda x: np.ones(3).__iadd__(x),
    ],
)
def test_what_a_gpu_refuses(use):
    with pytest.raises(TypeError):
        use(device([1, 2, 3]))


def test_mpi_refuses_it():
    MPI = pytest.importorskip("mpi4py.MPI")
    with pytest.raises(TypeError):
        MPI.COMM_SELF.Sendrecv(device([1.0]), 0, recvbuf=device([0.0]), source=0)
    with pytest.raises(TypeError):
        MPI.COMM_SELF.sendrecv(device([1.0]), 0)


def test_names_that_were_not_checked_against_cupy():
    with pytest.raises(BackendError, match="not in the list"):
        _ = xp.apply_along_axis
    with pytest.raises(BackendError, match="look up whether CuPy has it"):
        np.median(device([1, 2]))
    with pytest.raises(AttributeError, match="does not use"):
        device([1]).tofile("x")


def test_every_offered_name_exists_in_cupy():
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("CuPy is not installed: pip install cupy-cuda12x to compare the names")
    import cupy

    assert [name for name in fake.OFFERED if not hasattr(cupy, name)] == []
    assert [name for name in fake._METHODS | fake._ATTRIBUTES if not hasattr(cupy.ndarray, name)] == []


def test_computes_as_numpy_does():
    a, b = np.arange(6.0).reshape(2, 3), np.array([1.0, 2.0, 4.0])
    x, y = device(a), device(b)
    for ours, theirs in [
        (x + y, a + b),
        (2 - x, 2 - a),
        (x @ x.T, a @ a.T),
        (xp.where(x > 2, x, 0), np.where(a > 2, a, 0)),
        (x.sum(axis=0), a.sum(0)),
        (xp.maximum(x, y), np.maximum(a, b)),
        (x[:, ::-1].copy(), a[:, ::-1]),
        (xp.stack([y, y]), np.stack([b, b])),
        (x[xp.asarray(np.array([1, 0]))], a[[1, 0]]),
        (xp.sum(x), a.sum()),
    ]:
        assert isinstance(ours, fake.FakeArray)
        np.testing.assert_array_equal(ours.get(), theirs)


def test_views_share_memory_and_writes_are_seen():
    x = device([1, 2, 3, 4])
    view = x[1:3]
    view += 10
    x[0] = -1
    xp.add.at(x, xp.asarray(np.array([3, 3])), 1.0)
    xp.multiply(x, 2.0, out=x)
    assert x.get().tolist() == [-2, 24, 26, 12]


def test_crossings_are_counted():
    with fake.counting() as seen:
        x = xp.asarray(np.ones(3))
        (x + x).get()
    assert seen == {"host to device": 1, "device to host": 1, "wait": 1}


def test_a_copy_to_the_host_is_garbage_until_waited_for():
    x, host, stream = device([1, 2]), np.zeros(2), xp.cuda.Stream(non_blocking=True)
    stream.wait_event(xp.cuda.get_current_stream().record())
    x.get(stream=stream, out=host, blocking=False)
    assert np.isnan(host).all()
    stream.synchronize()
    assert host.tolist() == [1, 2]


def test_reading_on_another_stream_without_an_event_finds_garbage():
    stream = xp.cuda.Stream(non_blocking=True)
    x = device([1, 2]) * 2
    with stream:
        raced = x + 1
    assert np.isnan(raced.get(stream=stream)).all()
    stream.wait_event(xp.cuda.get_current_stream().record())
    with stream:
        ordered = x + 1
    assert ordered.get(stream=stream).tolist() == [3, 5]


def test_a_copy_to_the_device_must_be_waited_for_before_use():
    x, stream = device([0, 0]), xp.cuda.Stream(non_blocking=True)
    x.set(np.array([5.0, 6.0]), stream=stream)
    assert np.isnan((x + 0).get()).all()
    xp.cuda.get_current_stream().wait_event(stream.record())
    assert (x + 0).get().tolist() == [5, 6]


def test_a_host_buffer_reused_too_early_is_noticed():
    x, host, stream = device([0, 0]), np.array([5.0, 6.0]), xp.cuda.Stream(non_blocking=True)
    x.set(host, stream=stream)
    host[:] = 9  # before the copy has run
    stream.synchronize()
    assert x.get().tolist() == [9, 9]


def test_integers_show_a_race_too():
    x, host, stream = xp.asarray(np.array([1, 2])), np.zeros(2, np.int64), xp.cuda.Stream()
    x.get(stream=stream, out=host, blocking=False)
    assert host.tolist() == [np.iinfo(np.int64).min] * 2


def test_wrong_indices_wrap_round_as_on_a_gpu():
    x, wrong = device([[1, 2, 3], [4, 5, 6]]), xp.asarray(np.array([2, -3, 7]))
    assert x[wrong].get().tolist() == [[1, 2, 3], [4, 5, 6], [4, 5, 6]]
    assert x[..., wrong].get().tolist() == [[3, 1, 2], [6, 4, 5]]
    assert x[None, :, wrong].shape == (1, 2, 3) and x[:, x[0] > 1].shape == (2, 2)
    x[xp.asarray(np.array([3])), xp.asarray(np.array([-4]))] = 0
    xp.add.at(x, xp.asarray(np.array([2, 4])), 10.0)
    assert x.get().tolist() == [[21, 22, 23], [4, 5, 0]]
    with pytest.raises(IndexError):  # a race's garbage is no index
        x[xp.asarray(np.array([np.iinfo(np.int64).min]))]


def test_parts_that_several_streams_write_are_told_apart():
    x, stream = device(range(6)) * 1, xp.cuda.Stream(non_blocking=True)
    stream.wait_event(xp.cuda.get_current_stream().record())
    first, both, last = x[:2], x[1:3], x[2:]
    first.set(np.array([8.0, 9.0]), stream=stream)
    assert (last + 0).get().tolist() == [2, 3, 4, 5]
    assert np.isnan((both + 0).get()).all() and np.isnan((x + 0).get()).all()
    xp.cuda.get_current_stream().wait_event(stream.record())
    assert (x + 0).get().tolist() == [8, 9, 2, 3, 4, 5]


def test_an_event_is_done_at_the_second_look_or_after_a_wait():
    x, host, stream = device([1, 2]), np.zeros(2), xp.cuda.Stream()
    stream.wait_event(xp.cuda.get_current_stream().record())
    x.get(stream=stream, out=host, blocking=False)
    event = stream.record()
    assert not event.done and np.isnan(host).all()
    assert event.done and host.tolist() == [1, 2]
    event = stream.record()
    stream.synchronize()
    assert event.done
