"""Collectives against NumPy on the whole, at every rank count and for awkward sizes."""

import os
import subprocess

import numpy as np
import pytest
from ranks import ranks

from mpipar.arrays import BACKEND, asarray, on_device, to_host
from mpipar.comm import Communicator, virtual
from mpipar.comm.collectives import ALGORITHMS, segment
from mpipar.errors import DTypeError, MessageError, OptionError, ShapeError
from mpipar.trace import read

REDUCE = {"sum": np.sum, "prod": np.prod, "max": np.max, "min": np.min, "mean": np.mean}
SHAPES = ((), (1,), (3,), (7,), (4, 5), (0,), (2, 0))
# an operation is only what is done to two numbers: each with few shapes, all shapes with one
OPS_AND_SHAPES = [("sum", shape) for shape in SHAPES] + [(op, s) for op in REDUCE for s in ((7,), (2, 0))]
LONG = 16384 * 2 + 5  # elements; several segments
P, VIRTUAL = (1, 2, 3, 4, 5), (1, 2, 3, 4, 5, 6, 7, 8, 9, 16)


def algorithms(operation, but=()):
    """Every name that `algorithm=` takes here: `shared` adds host arrays only."""
    host_only = [a for a in ALGORITHMS[operation] if a.startswith("shared") and BACKEND != "numpy"]
    return [a for a in (*ALGORITHMS[operation], "native", "auto") if a not in (*but, *host_only)]


def values(rank, shape, dtype=np.float64):
    """What a rank holds: small integers, so that sums and products are exact."""
    draw = np.random.default_rng(rank).integers(1, 4, shape)
    return np.asarray(draw).astype(dtype)


def everybody(world, shape, dtype=np.float64):
    return np.stack([values(r, shape, dtype) for r in range(world.size)])


def equal(got, wanted, what=""):
    assert to_host(got).dtype == np.asarray(wanted).dtype, what
    # rtol: a mean of integers rounds once, as p/p·x or x
    np.testing.assert_allclose(to_host(got), wanted, rtol=1e-15, err_msg=str(what))


@ranks(*P, virtual=VIRTUAL)
def test_allreduce_of_every_op_algorithm_and_size(world):
    for algorithm in algorithms("allreduce"):
        for op, shape in OPS_AND_SHAPES:
            got = world.allreduce(asarray(values(world.rank, shape)), op, algorithm)
            equal(got, REDUCE[op](everybody(world, shape), axis=0), (algorithm, op, shape))


@ranks(*P, virtual=VIRTUAL)
def test_reduce_to_every_root(world):
    for algorithm in algorithms("reduce"):
        for root in range(world.size):
            for op, shape in zip(REDUCE, SHAPES, strict=False):
                x = asarray(values(world.rank, shape))
                got = world.reduce(x, op, root, algorithm)
                equal(x, values(world.rank, shape))  # unharmed
                assert (got is None) == (world.rank != root)
                if got is not None:
                    equal(got, REDUCE[op](everybody(world, shape), axis=0), (algorithm, op, shape))
            x = asarray(values(world.rank, (4, 6)))
            part = x[:, ::2]
            world.reduce(part, root=root, algorithm=algorithm, out=part)
            wanted = values(world.rank, (4, 6))
            if world.rank == root:
                wanted[:, ::2] = everybody(world, (4, 6)).sum(0)[:, ::2]
            equal(x, wanted)


@ranks(*P, virtual=VIRTUAL)
def test_scan_of_every_op_and_size(world):
    for algorithm in algorithms("scan"):
        for op, shape in OPS_AND_SHAPES:
            got = world.scan(asarray(values(world.rank, shape)), op, algorithm)
            wanted = REDUCE[op](everybody(world, shape)[: world.rank + 1], axis=0)
            equal(got, wanted, (algorithm, op, shape))
        x = asarray(values(world.rank, (6, 4)))
        assert world.scan(x, algorithm=algorithm, out=x) is x
        equal(x, everybody(world, (6, 4))[: world.rank + 1].sum(0))


@ranks(2, 3, 5, virtual=VIRTUAL[1:])
def test_allreduce_is_bitwise_equal_on_all_ranks(world):
    x = np.random.default_rng(world.rank).standard_normal(1001).astype(np.float32)
    x[::7] = -0.0 if world.rank % 2 else 0.0
    x[::11] = np.float32(np.nan)
    x.view(np.uint32)[::11] += world.rank  # NaNs that differ in their payload
    for algorithm in algorithms("allreduce", but=("native",)):
        for op in ("sum", "max", "min", "prod"):
            mine = to_host(world.allreduce(asarray(x), op, algorithm))
            first = world.bcast(mine.copy(), root=0)
            assert mine.tobytes() == first.tobytes(), (algorithm, op)


@ranks(1, 2, 3, 4)
def test_allreduce_in_place_out_and_views(world):
    for algorithm in algorithms("allreduce"):
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
def test_reductions_of_every_dtype(world):
    for code in "b h i q B H I Q e f d".split():
        x = values(world.rank, (5,), code)
        whole = everybody(world, (5,), code).sum(0).astype(code)
        for algorithm in algorithms("allreduce", but=("native",)):
            equal(world.allreduce(asarray(x), algorithm=algorithm), whole, (algorithm, code))
        for algorithm in algorithms("reduce_scatter", but=("native",)):
            got = world.reduce_scatter(asarray(x), algorithm=algorithm)
            equal(got, np.array_split(whole, world.size)[world.rank], (algorithm, code))
    either = asarray(np.array([world.rank == 0, False, True]))
    assert to_host(world.allreduce(either, "max")).tolist() == [True, False, True]


@ranks(1, 2, 3)
def test_long_arrays_travel_in_segments(world):
    n = LONG * world.size
    x = np.arange(n, dtype=np.float32) % 100 + world.rank
    whole = np.arange(n) % 100 * world.size + sum(range(world.size))
    for algorithm in ("segmented_ring", "ring", "rabenseifner"):
        equal(world.allreduce(asarray(x), algorithm=algorithm), whole.astype(np.float32), algorithm)
    for algorithm in ("chain", "scatter_allgather"):
        got = world.bcast(asarray(x), world.size - 1, algorithm)
        equal(got, (np.arange(n) % 100 + world.size - 1).astype(np.float32), algorithm)


@ranks(*P, virtual=VIRTUAL)
def test_bcast_from_every_root(world):
    for algorithm in algorithms("bcast"):
        for root in range(world.size):
            for shape in ((), (1,), (0,), (3, 2), (13,)):
                x = asarray(values(world.rank, shape))
                assert world.bcast(x, root, algorithm) is x
                equal(x, values(root, shape), (algorithm, root, shape))
            x = asarray(values(world.rank, (3, 2)))
            world.bcast(x.T, root, algorithm)
            equal(x, values(root, (3, 2)))


@ranks(*P, virtual=VIRTUAL)
def test_reduce_scatter_and_allgather_are_two_halves(world):
    shapes = ((world.size,), (7,), (2, 3), (9, 2), (0, 4), (3, 0))
    for there in algorithms("reduce_scatter"):
        for op, shape in [*((op, (7, 2)) for op in REDUCE), *(("sum", shape) for shape in shapes)]:
            x = asarray(values(world.rank, shape))
            whole = REDUCE[op](everybody(world, shape), axis=0)
            mine = world.reduce_scatter(x, op, there)
            equal(mine, np.array_split(whole, world.size)[world.rank], (there, op, shape))
            equal(x, values(world.rank, shape))  # unharmed
    for back in algorithms("allgather"):
        for shape in shapes:
            whole = everybody(world, shape).sum(0)
            mine = asarray(np.array_split(whole, world.size)[world.rank])
            out = asarray(np.zeros(shape))
            assert world.allgather(mine, back, out) is out
            equal(out, whole, (back, shape))
            out = asarray(np.zeros(shape[::-1]))
            if shape[0] % world.size == 0:
                equal(world.allgather(mine, back), whole, (back, shape))
                world.allgather(mine, back, out.T)
                equal(out, whole.T)


@ranks(*P, virtual=VIRTUAL)
def test_gather_and_scatter_with_every_root(world):
    for root in range(world.size):
        for shape in ((world.size, 2), (7,), (2, 3), (0, 4), (2 * world.size,)):
            whole = np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
            mine = np.array_split(whole, world.size)[world.rank]
            for algorithm in algorithms("scatter"):
                x = asarray(whole.T.copy()).T if world.rank == root else None
                got = world.scatter(x, root, algorithm)
                assert on_device(got) == (BACKEND != "numpy")
                equal(got, mine, (algorithm, root, shape))
            for algorithm in algorithms("gather"):
                got = world.gather(asarray(mine), root, algorithm, rows=shape[0])
                assert (got is None) == (world.rank != root)
                if got is not None:
                    equal(got, whole, (algorithm, root, shape))
                out = asarray(np.zeros(shape[::-1], np.float32))
                got = world.gather(asarray(mine), root, algorithm, shape[0], out.T)
                equal(out, whole.T if got is not None else np.zeros(shape[::-1], np.float32))
        equal(world.scatter(np.arange(world.size), root), np.array([world.rank]))
        assert isinstance(world.scatter(np.arange(world.size), root), np.ndarray)


@ranks(*P, virtual=VIRTUAL)
def test_alltoall_transposes_blocks(world):
    p, r = world.size, world.rank
    for algorithm in algorithms("alltoall"):
        for m, width in ((1, 1), (2, 3), (0, 2)):
            x = np.array([[100 * r + dest] * (m * width) for dest in range(p)], np.int32)
            wanted = np.array([[100 * source + r] * (m * width) for source in range(p)], np.int32)
            x, wanted = x.reshape(p * m, width), wanted.reshape(p * m, width)
            given = asarray(x)
            equal(world.alltoall(given, algorithm), wanted, algorithm)
            equal(given, x)
            out = asarray(np.zeros((width, p * m), np.int32))
            world.alltoall(given, algorithm, out.T)
            equal(out, wanted.T)
            assert world.alltoall(given, algorithm, given) is given
            equal(given, wanted)


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


def test_the_trace_has_the_root_of_a_part_by_its_number_in_the_world(tmp_path):
    def program(world):
        world.split(world.rank // 2).bcast(asarray(np.ones(2)), root=1)

    virtual.run(program, 4, trace=tmp_path / "trace")
    events = read(tmp_path / "trace").events()
    peers = [(rank, event.peer) for rank, event in events if event.op == "bcast"]
    assert sorted(peers) == [(0, 1), (1, 1), (2, 3), (3, 3)]


@ranks(2, virtual=())
def test_time_in_a_collective_is_counted(world):
    comm = world.split(0)
    before = comm.seconds
    comm.allreduce(asarray(np.ones(3)), algorithm="ring")
    assert comm.seconds > before


@ranks(3, 5, virtual=VIRTUAL[2:])
def test_every_collective_on_part_of_the_ranks(world):
    part = world.split(0 if world.rank % 2 == 0 else 1, key=-world.rank)
    members = [r for r in reversed(range(world.size)) if r % 2 == world.rank % 2]
    p, r = part.size, part.rank
    assert part.nodes == [world.nodes[m] for m in members]
    all_x = np.stack([values(m, (2 * p,)) for m in members])
    mine, x = all_x[r], all_x.sum(0)
    block = slice(2 * r, 2 * r + 2)
    for name in algorithms("allreduce"):
        equal(part.allreduce(asarray(mine), algorithm=name), x)
    for name in algorithms("reduce"):
        got = part.reduce(asarray(mine), root=p - 1, algorithm=name)
        assert r != p - 1 or not equal(got, x)
    for name in algorithms("bcast"):
        equal(part.bcast(asarray(mine.copy()), p - 1, name), all_x[p - 1])
    for name in algorithms("reduce_scatter"):
        equal(part.reduce_scatter(asarray(mine), algorithm=name), x[block])
    for name in algorithms("allgather"):
        equal(part.allgather(asarray(x[block]), name), x)
    for name in algorithms("gather"):
        got = part.gather(asarray(x[block]), p - 1, name)
        assert r != p - 1 or not equal(got, x)
    for name in algorithms("scatter"):
        equal(part.scatter(asarray(all_x[0]) if r == 0 else None, 0, name), all_x[0][block])
    for name in algorithms("alltoall"):
        equal(part.alltoall(asarray(mine), name), all_x[:, block].reshape(-1))
    for name in algorithms("scan"):
        equal(part.scan(asarray(mine), algorithm=name), all_x[: r + 1].sum(0))


@ranks(2, 3, 5, virtual=VIRTUAL[1:])
def test_hierarchical_allreduce_on_several_nodes(world):
    p = world.size
    for nodes in ([r // 2 for r in range(p)], [r % 2 for r in range(p)], list(range(p)), [7] * p):
        comm = Communicator(world._transport.duplicate(), nodes=nodes)
        for shape in ((3,), (0,), (4, 5)):
            got = comm.allreduce(asarray(values(comm.rank, shape)), "mean", "hierarchical")
            equal(got, everybody(comm, shape).mean(0))


@ranks(1, 2, 4)
def test_shared_memory_allreduce_grows_and_leaves_nothing(world):
    if BACKEND != "numpy" and world.size > 1:
        with pytest.raises(OptionError, match="is for host arrays, this one is on a GPU"):
            world.allreduce(asarray(np.ones(3)), algorithm="shared")
    comm = Communicator(world._transport.duplicate())
    for n in (5, 3000, 7, 100_000, 0):
        for _ in range(3):  # a fast rank must not overwrite what a slow one still reads
            x = np.full(n, world.rank + 1.0)
            equal(comm.allreduce(x, algorithm="shared", out=x), np.full(n, sum(range(world.size + 1)) * 1.0))
    world.barrier()
    assert not [f for folder in segment.folders() for f in folder.glob(f"{segment.PREFIX}{os.getpid()}-*")]
    if world.size > 1:
        apart = Communicator(world._transport.duplicate(), nodes=list(range(world.size)))
        with pytest.raises(OptionError, match="needs all ranks on one node"):
            apart.allreduce(np.ones(3), algorithm="shared")


@ranks(1, 2, 3)
def test_algorithms_get_contiguous_arrays_of_what_lies_apart(world):
    comm, given = Communicator(world._transport.duplicate()), []
    run = comm._run

    def noting(operation, chosen, *args):
        given.extend((operation, a.flags.c_contiguous) for a in args if hasattr(a, "flags"))
        run(operation, chosen, *args)

    comm._run = noting
    p, r = world.size, world.rank

    def apart(shape):
        """Every other number of a row, as an array of that shape."""
        return asarray(np.repeat(values(r, shape), 2))[::2]

    whole, block, blocks = everybody(world, (2 * p,)), everybody(world, (2,)), slice(2 * r, 2 * r + 2)
    outs = {name: apart((2 * p,)) for name in ("bcast", "reduce", "allgather", "gather", "alltoall")}
    equal(comm.bcast(outs["bcast"], 0), whole[0])
    comm.reduce(apart((2 * p,)), root=0, out=outs["reduce"])
    equal(comm.reduce_scatter(apart((2 * p,)), out=apart((2,))), whole.sum(0)[blocks])
    equal(comm.allgather(apart((2,)), out=outs["allgather"]), block.reshape(-1))
    comm.gather(apart((2,)), 0, out=outs["gather"])
    equal(comm.scatter(apart((2 * p,)), 0), whole[0][blocks])
    equal(comm.alltoall(apart((2 * p,)), out=outs["alltoall"]), whole[:, blocks].reshape(-1))
    equal(comm.scan(apart((3,)), out=apart((3,))), everybody(world, (3,))[: r + 1].sum(0))
    if r == 0:
        equal(outs["reduce"], whole.sum(0))
        equal(outs["gather"], block.reshape(-1))
    assert len({operation for operation, _ in given}) == 8
    assert [operation for operation, contiguous in given if not contiguous] == []


def test_what_a_killed_job_left_in_memory_is_removed():
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = [folder / f"{segment.PREFIX}{gone.pid}-left" for folder in segment.folders()[:1]]
    foreign = segment.folders()[0] / f"{segment.PREFIX}left"  # no number: not ours to judge
    for file in (*left, foreign):
        file.write_bytes(b"")
    os.unlink(segment._make_file(4096))
    assert not any(file.exists() for file in left)
    assert foreign.exists()
    foreign.unlink()


@ranks(2, 3, 4, 5, virtual=VIRTUAL)
def test_nobody_leaves_a_barrier_before_all_have_come(world):
    for algorithm in algorithms("barrier"):
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
    assert isinstance(world.scan(np.array([1, 2])), np.ndarray)


@ranks(1, 2)
def test_mistakes_are_named(world):
    x = asarray(np.ones((3, 2), np.float32))
    cases = [
        (lambda: world.allreduce(x, "avg"), OptionError, "op='avg' is unknown; choose one of sum, prod"),
        (
            lambda: world.allreduce(x, algorithm="rings"),
            OptionError,
            "choose one of recursive_doubling, ring, .*, auto, native",
        ),
        (lambda: world.allreduce(asarray(np.array([1])), "mean"), DTypeError, "the mean of int64"),
        (lambda: world.allreduce(x, out=asarray(np.ones(6, np.float32))), ShapeError, r"out \(6,\) float32"),
        (lambda: world.bcast(x, root=world.size), MessageError, "root .* does not exist"),
        (lambda: world.reduce(x, root=-1), MessageError, "root -1 does not exist"),
        (lambda: world.split(-1), MessageError, "color -1 is negative"),
        (lambda: world.allgather(asarray(np.array(1.0))), ShapeError, "has no blocks"),
        (
            lambda: world.allgather(x, out=asarray(np.ones((3, 3), np.float32))),
            ShapeError,
            "cut as numpy.array_split",
        ),
        (lambda: world.gather(x, rows=3000), ShapeError, r"give every rank rows="),
        (lambda: world.scan(x, out=asarray(np.ones(3))), ShapeError, "make it like x"),
        (lambda: world.alltoall(x, out=x[1:]), ShapeError, "out|cannot share"),
        (lambda: world.alltoall(asarray(np.ones(2 * world.size + 1))[:-1]), None, ""),
    ]
    if world.size == 2:
        cases.append((lambda: world.alltoall(x), ShapeError, "has 3 rows, which 2 ranks cannot share"))
    for call, error, text in cases:
        if error is None:
            call()
            continue
        with pytest.raises(error, match=text):
            call()
    if world.rank == 0:
        with pytest.raises(MessageError, match="scatter: got NoneType, not an array"):
            world.scatter()
        with pytest.raises(ShapeError, match="at most 13 fit"):
            world.scatter(np.ones((1,) * 14))
