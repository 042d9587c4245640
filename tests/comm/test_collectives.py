"""Collectives against NumPy on the whole, at every rank count and for awkward sizes."""

import numpy as np
import pytest
from ranks import ranks

from mpipar.arrays import asarray, to_host
from mpipar.errors import DTypeError, MessageError, OptionError, ShapeError

ALLREDUCES = ("ring", "naive", "native", "auto")
REDUCE = {"sum": np.sum, "prod": np.prod, "max": np.max, "min": np.min, "mean": np.mean}


def values(rank, shape, dtype=np.float64):
    """What a rank holds: small integers, so that sums and products are exact."""
    draw = np.random.default_rng(rank).integers(1, 4, shape)
    return draw.astype(dtype)


def everybody(world, shape, dtype=np.float64):
    return np.stack([values(r, shape, dtype) for r in range(world.size)])


@ranks(1, 2, 3, 4, 5)
def test_allreduce_of_every_op_algorithm_and_size(world):
    for algorithm in ALLREDUCES:
        for op, reduce in REDUCE.items():
            for shape in ((), (1,), (3,), (7,), (4, 5), (0,)):
                x = asarray(values(world.rank, shape))
                got = world.allreduce(x, op, algorithm)
                np.testing.assert_allclose(
                    to_host(got),
                    reduce(everybody(world, shape), axis=0),
                    rtol=1e-15,
                    err_msg=f"{algorithm} {op}",
                )


@ranks(2, 3, 4)
def test_allreduce_is_bitwise_equal_on_all_ranks(world):
    x = np.random.default_rng(world.rank).standard_normal(1001).astype(np.float32)
    for algorithm in ("ring", "naive"):
        mine = to_host(world.allreduce(asarray(x), algorithm=algorithm))
        first = world.bcast(mine.copy(), root=0)
        assert mine.tobytes() == first.tobytes()


@ranks(1, 2, 3, 4)
def test_allreduce_in_place_out_and_views(world):
    for algorithm in ALLREDUCES:
        whole = everybody(world, (6, 4)).sum(0)
        x = asarray(values(world.rank, (6, 4)))
        assert world.allreduce(x, algorithm=algorithm, out=x) is x
        np.testing.assert_array_equal(to_host(x), whole)
        x = asarray(values(world.rank, (6, 4)))
        world.allreduce(x[...], algorithm=algorithm, out=x[...])  # two views of the same memory
        np.testing.assert_array_equal(to_host(x), whole)
        x, out = asarray(values(world.rank, (6, 4))), asarray(np.zeros((4, 6)))
        world.allreduce(x, algorithm=algorithm, out=out.T)
        np.testing.assert_array_equal(to_host(out).T, whole)
        np.testing.assert_array_equal(to_host(x), values(world.rank, (6, 4)))  # unharmed
        every_other = x[:, ::2]
        world.allreduce(every_other, algorithm=algorithm, out=every_other)
        np.testing.assert_array_equal(to_host(x)[:, ::2], whole[:, ::2])
        np.testing.assert_array_equal(to_host(x)[:, 1::2], values(world.rank, (6, 4))[:, 1::2])


@ranks(2, 3)
def test_allreduce_of_every_dtype(world):
    for code in "b h i q B H I Q e f d".split():
        x = values(world.rank, (5,), code)
        for algorithm in ("ring", "naive"):
            got = to_host(world.allreduce(asarray(x), algorithm=algorithm))
            assert got.dtype == x.dtype
            np.testing.assert_array_equal(got, everybody(world, (5,), code).sum(0).astype(code))


@ranks(1, 2, 3, 4, 5)
def test_bcast_from_every_root(world):
    for algorithm in ("binomial", "linear", "native", "auto"):
        for root in range(world.size):
            x = asarray(values(world.rank, (3, 2)))
            assert world.bcast(x, root, algorithm) is x
            np.testing.assert_array_equal(to_host(x), values(root, (3, 2)))
            x = asarray(values(world.rank, (3, 2)))
            world.bcast(x.T, root, algorithm)
            np.testing.assert_array_equal(to_host(x), values(root, (3, 2)))


@ranks(1, 2, 3, 4)
def test_reduce_scatter_and_allgather_are_two_halves(world):
    for shape in ((world.size,), (7,), (2, 3), (9, 2), (0, 4)):
        for op, reduce in REDUCE.items():
            whole = reduce(everybody(world, shape), axis=0)
            mine = world.reduce_scatter(asarray(values(world.rank, shape)), op)
            np.testing.assert_allclose(
                to_host(mine), np.array_split(whole, world.size)[world.rank], rtol=1e-15
            )
            out = asarray(np.zeros(shape))
            assert world.allgather(mine, out=out) is out
            np.testing.assert_allclose(to_host(out), whole, rtol=1e-15)


@ranks(1, 2, 3, 4)
def test_allgather_of_equal_blocks_needs_no_out(world):
    got = world.allgather(asarray(np.full((2, 3), world.rank)))
    np.testing.assert_array_equal(to_host(got), np.repeat(np.arange(world.size), 2)[:, None] * np.ones(3))


@ranks(1, 2, 3, 4)
def test_split_into_rows_and_columns(world):
    half = world.split(world.rank % 2, key=-world.rank)
    members = [r for r in reversed(range(world.size)) if r % 2 == world.rank % 2]
    assert half.size == len(members) and members[half.rank] == world.rank
    total = half.allreduce(asarray(np.array([world.rank])))
    assert to_host(total)[0] == sum(members)
    alone = world.split(None if world.rank else 0)
    assert (alone is None) == (world.rank > 0)


@ranks(2, 3, 4)
def test_nobody_leaves_a_barrier_before_all_have_come(world):
    for algorithm in ("dissemination", "native"):
        flag = np.zeros(1)
        if world.rank:
            request = world.irecv(flag, 0)
        world.barrier(algorithm)
        if world.rank == 0:
            for r in range(1, world.size):
                world.send(np.ones(1), r)
        else:
            request.wait()
    assert world.rank == 0 or flag[0] == 1


@ranks(2)
def test_host_arrays_travel_on_every_backend(world):
    assert world.allreduce(np.array([1, 2]), "max").tolist() == [1, 2]
    assert isinstance(world.allreduce(np.array([1, 2])), np.ndarray)


@ranks(1, 2)
def test_mistakes_are_named(world):
    x = asarray(np.ones((3, 2), np.float32))
    cases = [
        (lambda: world.allreduce(x, "avg"), OptionError, "op='avg' is unknown; choose one of sum, prod"),
        (
            lambda: world.allreduce(x, algorithm="rings"),
            OptionError,
            "choose one of naive, ring, auto, native",
        ),
        (lambda: world.reduce_scatter(x, algorithm="native"), OptionError, "choose one of ring, auto"),
        (lambda: world.allreduce(asarray(np.array([1])), "mean"), DTypeError, "the mean of int64"),
        (lambda: world.allreduce(x, out=asarray(np.ones(6, np.float32))), ShapeError, r"out \(6,\) float32"),
        (lambda: world.bcast(x, root=world.size), MessageError, "root . does not exist"),
        (lambda: world.split(-1), MessageError, "color -1 is negative"),
        (lambda: world.allgather(asarray(np.array(1.0))), ShapeError, "has no blocks"),
        (
            lambda: world.allgather(x, out=asarray(np.ones((3, 3), np.float32))),
            ShapeError,
            "cut as numpy.array_split",
        ),
    ]
    for call, error, text in cases:
        with pytest.raises(error, match=text):
            call()
