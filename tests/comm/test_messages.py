"""Point-to-point messages on several ranks."""

import time

import numpy as np
import pytest
from ranks import ranks

from mpipar.arrays import asarray, to_host
from mpipar.comm import ANY_SOURCE, ANY_TAG
from mpipar.comm.virtual import run
from mpipar.errors import DTypeError, MessageError

DTYPES = "? b h i l q B H I L Q e f d".split()


def neighbours(world):
    return (world.rank + 1) % world.size, (world.rank - 1) % world.size


@ranks(1, 2, 3, 4)
def test_sendrecv_passes_the_neighbours_array(world):
    right, left = neighbours(world)
    got = world.sendrecv(asarray(np.full((2, 3), world.rank, np.float32)), right, left)
    assert to_host(got).tolist() == np.full((2, 3), left).tolist()


@ranks(1, 2, 3)
def test_sendrecv_in_place(world):
    right, left = neighbours(world)
    x = asarray(np.full(5, world.rank, np.float64))
    assert world.sendrecv(x, right, left, out=x) is x
    assert (to_host(x) == left).all()
    x = asarray(np.full(5, world.rank, np.float64))
    world.sendrecv(x[:4], right, left, out=x[1:])  # another view of the same memory
    assert to_host(x).tolist() == [world.rank, left, left, left, left]


@ranks(2, 3)
def test_every_dtype_and_shape_travels(world):
    right, left = neighbours(world)
    for code in DTYPES:
        for shape in ((), (0,), (1,), (2, 3), (2, 1, 2)):
            mine = np.arange(np.prod(shape, dtype=int)).reshape(shape) + world.rank
            theirs = np.arange(np.prod(shape, dtype=int)).reshape(shape) + left
            out = world.sendrecv(asarray(mine.astype(code)), right, left)
            np.testing.assert_array_equal(to_host(out), theirs.astype(code))


@ranks(2, 4)
def test_views_that_are_not_contiguous(world):
    right, left = neighbours(world)
    mine, out = np.arange(12.0).reshape(3, 4) + world.rank, np.zeros((3, 4))
    mine, out = asarray(mine), asarray(out)
    world.sendrecv(mine.T, right, left, out=out.T)
    np.testing.assert_array_equal(to_host(out), np.arange(12.0).reshape(3, 4) + left)
    world.sendrecv(mine[:, ::2], right, left, out=out[:, 1::2])
    np.testing.assert_array_equal(to_host(out)[:, 1::2], (np.arange(12.0).reshape(3, 4) + left)[:, ::2])


@ranks(2, 3, 4)
def test_isend_and_irecv_in_any_order(world):
    right, left = neighbours(world)
    outs = [asarray(np.zeros(4)) for _ in range(3)]
    receives = [world.irecv(outs[tag], left, tag) for tag in (2, 0, 1)]
    sends = [world.isend(asarray(np.full(4, 10.0 * world.rank + tag)), right, tag) for tag in (0, 1, 2)]
    for request in [*receives, *sends]:
        request.wait()
    assert [to_host(out)[0] for out in outs] == [10 * left, 10 * left + 1, 10 * left + 2]


@ranks(2)
def test_test_becomes_true_and_wait_may_follow(world):
    out = asarray(np.zeros(2))
    request = world.irecv(out, 1 - world.rank)
    world.send(asarray(np.ones(2)), 1 - world.rank)
    while not request.test():
        pass
    assert request.wait() is out
    assert to_host(out).tolist() == [1, 1]


@ranks(3, 4)
def test_any_source_takes_all(world):
    if world.rank:
        world.send(asarray(np.array([world.rank])), 0, tag=world.rank)
    else:
        out = asarray(np.array([0]))
        got = {int(to_host(world.recv(out, ANY_SOURCE, ANY_TAG))[0]) for _ in range(world.size - 1)}
        assert got == set(range(1, world.size))


@ranks(2)
def test_a_message_of_another_size_is_named(world):
    if world.rank == 0:
        world.send(asarray(np.ones(3)), 1)
        world.send(asarray(np.ones(9)), 1)
    else:
        with pytest.raises(
            MessageError, match=r"rank 0 sent 24 bytes \(tag 0\), but out \(4,\) float64 holds 32"
        ):
            world.recv(asarray(np.ones(4)), 0)
        with pytest.raises(MessageError, match=r"longer than the 32 bytes of out \(4,\) float64"):
            world.recv(asarray(np.ones(4)), 0, tag=0)


@ranks(1, 2)
def test_peers_tags_and_types_that_cannot_be(world):
    x = asarray(np.ones(2))
    cases = [
        (lambda: world.send(x, world.size), MessageError, "does not exist in world"),
        (lambda: world.send(x, -1), MessageError, "rank -1 does not exist"),
        (lambda: world.recv(x, world.size + 3), MessageError, r"\(rank \+ 1\) % size"),
        (lambda: world.send(x, 0, tag=-2), MessageError, "tag -2 is not in 0"),
        (lambda: world.recv(x, 0, tag=-7), MessageError, "tag -7 is not in 0"),
        (lambda: world.send(x, "1"), MessageError, "rank '1' is no whole number"),
        (lambda: world.recv(x, 0, tag=None), MessageError, "tag None is no whole number"),
        (lambda: world.recv(np.broadcast_to(np.ones(1), 3)[:1], 0), MessageError, "is read-only"),
        (lambda: world.send(3.5, 0), MessageError, "got float, not an array"),
        (lambda: world.send([1, 2], 0), MessageError, "got list, not an array"),
        (lambda: world.send(np.array(["a"]), 0), DTypeError, "dtype <U1 does not travel"),
        (lambda: world.send(np.array([1j]), 0), DTypeError, "complex128 does not travel"),
        (lambda: world.send(np.ones(2, ">f4"), 0), DTypeError, "does not travel"),
    ]
    for call, error, text in cases:
        with pytest.raises(error, match=text):
            call()


def test_a_pause_passes_on_the_virtual_clock_only():
    def program(world):
        before = world.wtime()
        world.pause(1000.0 * world.rank)
        return world.wtime() - before

    start = time.perf_counter()
    assert run(program, 3) == [0.0, 1000.0, 2000.0]
    assert time.perf_counter() - start < 100
    with pytest.raises(MessageError, match=r"pause: -1 s is no length of time"):
        run(lambda world: world.pause(-1), 1)


@ranks(2)
def test_a_pause_takes_its_time(world):
    before = world.wtime()
    world.pause(0.01)
    assert world.wtime() - before >= 0.0099
