"""Sums through shared memory: those of the algorithms that send messages, bit by bit."""

import errno
import itertools
import os
import time

import msgspec
import numpy as np
import pytest
from ranks import ranks
from traced import traced

from mpipar.arrays import BACKEND
from mpipar.comm import Communicator, virtual
from mpipar.comm.collectives import orders, part_lengths, segment
from mpipar.comm.collectives.few import Few
from mpipar.comm.collectives.shared import FEW, ROW
from mpipar.comm.communicator import REPEATS
from mpipar.errors import DTypeError, MessageError, OptionError
from mpipar.tensor import Tensor

VISIBLE = ("recursive_doubling", "ring", "rabenseifner")


def draw(rank, n, dtype=np.float32):
    return np.random.default_rng(rank).standard_normal(n).astype(dtype)


def test_orders_are_those_of_the_figures():
    assert orders.recursive_doubling(4).trees == [((0, 1), (2, 3))] * 4
    assert orders.ring(4).trees[:3] == [(0, (3, (2, 1))), (1, (0, (3, 2))), (2, (1, (0, 3)))]
    assert orders.rabenseifner(4).trees == [
        ((0, 2), (1, 3)),
        ((1, 3), (0, 2)),
        ((2, 0), (3, 1)),
        ((3, 1), (2, 0)),
    ]
    assert orders.by_rank(3).trees[0] == ((0, 1), 2)
    # ranks 0 and 2 of six hand theirs to 1 and 3
    assert orders.recursive_doubling(6).trees[0] == (((0, 1), (2, 3)), (4, 5))
    assert orders.rabenseifner(6).owners == (1, 3, 4, 5)


@pytest.mark.parametrize("p", [1, 2, 3, 4, 5, 7, 8, 16])
@pytest.mark.parametrize(
    "order", [orders.by_rank, orders.recursive_doubling, orders.ring, orders.rabenseifner]
)
def test_every_rank_is_added_once(order, p):
    def leaves(tree):
        return [tree] if isinstance(tree, int) else leaves(tree[0]) + leaves(tree[1])

    assert all(sorted(leaves(tree)) == list(range(p)) for tree in order(p).trees)
    if p > 1:
        total = np.empty(1)
        orders.add_up(order(p).trees[0], [np.array([2.0**r]) for r in range(p)], np.add, total)
        assert total[0] == 2.0**p - 1


@ranks(2, 3, 4, 5, virtual=(1, 2, 3, 4, 5, 6, 7, 8, 9))
def test_sums_are_bitwise_those_of_the_messages(world):
    for n in (0, 1, 5, FEW, FEW + 1, ROW + 7):
        x = draw(world.rank, n)
        for algorithm in VISIBLE:
            for op in ("sum", "max", "prod") if n < 100 else ("sum",):
                seen = world.allreduce(x, op, algorithm)
                assert seen.tobytes() == world.allreduce(x, op, f"shared_{algorithm}").tobytes()
    if world.size > 2:  # another order gives other bits, so the test can fail
        ring = world.allreduce(x, algorithm="shared_ring")
        assert ring.tobytes() != world.allreduce(x, algorithm="shared").tobytes()


@ranks(2, 3, 4)
def test_recording_a_run_does_not_change_its_numbers(world):
    sizes, seen = (3, FEW + 3, 60_000, ROW + 1), []
    arrays = [draw(world.rank, n) for n in sizes]
    trace = traced(world, lambda comm: seen.extend(comm.allreduce(x) for x in arrays))
    unseen = Communicator(world._transport.duplicate())
    assert all(x.tobytes() == unseen.allreduce(y).tobytes() for x, y in zip(seen, arrays, strict=True))
    on_one_host = world._transport.until is not None and BACKEND == "numpy"
    assert ("shared" in unseen._hops.kept) == on_one_host
    if trace is not None:
        names = {event.algorithm for _, event in trace.events() if event.op == "allreduce"}
        assert names <= set(VISIBLE)


@ranks(2, 4)
def test_a_trace_shows_what_was_copied(world):
    n, p = ROW, world.size
    x = np.ones(n, np.float32)
    trace = traced(world, lambda comm: comm.allreduce(x, algorithm="shared", out=x))
    assert x[0] == x[-1] == p
    if trace is None:
        return
    for rank in trace.ranks.values():
        copied = {"into shared memory": 0, "out of shared memory": 0}
        for event in rank.events:
            if event.op == "copy":
                copied[event.algorithm] += event.bytes
        assert copied == {"into shared memory": x.nbytes * (p - 1) // p, "out of shared memory": x.nbytes}


@ranks(2, virtual=())
def test_messages_go_on_while_a_rank_looks_at_memory(world):
    large, x = np.full(1 << 20, 7.0), np.ones(3)
    world.allreduce(x)
    if world.rank == 0:
        request = world.isend(large, 1)  # too long to be buffered: rank 0 has to take part in it
        world.allreduce(x, out=x)
        request.wait()
    else:
        got = world.recv(np.empty(1 << 20), 0)
        world.allreduce(x, out=x)
        assert (got == 7).all()
    assert (x == 2).all()


def test_without_room_auto_sends_messages(monkeypatch):
    monkeypatch.setattr(segment, "_make_file", lambda nbytes: "")

    def program(world):
        x = draw(world.rank, 100)
        got = world.allreduce(x, algorithm="shared_ring")
        assert got.tobytes() == world.allreduce(x, algorithm="ring").tobytes()
        with pytest.raises(OptionError, match="no room for memory that the ranks share"):
            world.allreduce(x, algorithm="shared")

    virtual.run(program, 3)


@ranks(2, 3, virtual=())
def test_without_room_a_scale_counts_once_and_x_is_kept(world):
    make, segment._make_file = segment._make_file, lambda nbytes: ""
    try:
        comm, total = world.split(0), sum(range(world.size + 1))
        for n in (6, ROW * world.size):
            x = np.full(n, world.rank + 1.0)
            assert (comm.allreduce(x, scale=0.5) == total / 2).all()
            assert (comm.reduce_scatter(x, scale=0.5) == total / 2).all()
            assert (comm.reduce_scatter(x) == total).all() and (x == world.rank + 1).all()
    finally:
        segment._make_file = make


def test_who_cannot_open_the_file_makes_all_do_without(monkeypatch, tmp_path):
    monkeypatch.setattr(segment, "_make_file", lambda nbytes: str(tmp_path / "empty"))
    (tmp_path / "empty").write_bytes(b"")
    virtual.run(lambda world: world.allreduce(np.ones(3), algorithm="shared_ring"), 2)
    assert not (tmp_path / "empty").exists()


@ranks(2, virtual=())
def test_where_one_rank_cannot_map_the_file_both_send_messages(world):
    def refuse(number, nbytes):
        raise OSError("no room in this process")

    comm, x = world.split(0), np.arange(FEW + 3.0) + world.rank
    with pytest.MonkeyPatch.context() as patch:
        if world.rank == 1:
            patch.setattr(segment.mmap, "mmap", refuse)
        assert segment.map_segment(comm._hops, FEW, ROW // 2) is None
        assert (comm.allreduce(x) == 2 * np.arange(FEW + 3) + 1).all()
        assert (comm.allreduce(x, algorithm="shared_ring") == 2 * np.arange(FEW + 3) + 1).all()


def test_a_full_disk_leaves_no_file(monkeypatch, tmp_path):
    def full(number, start, nbytes):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(segment, "folders", lambda: [tmp_path])
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    assert segment._make_file(1 << 20) == ""
    assert list(tmp_path.iterdir()) == []


@ranks(2, 3, 4)
def test_a_call_like_an_earlier_one_gives_the_same(world):
    for k in range(4):
        for shape, op in (((3, 5), "sum"), ((15,), "sum"), ((15,), "mean"), ((15,), "max")):
            x = draw(world.rank + k, 15).reshape(shape)
            seen = world.allreduce(x, op, "recursive_doubling")
            assert world.allreduce(x, op).tobytes() == seen.tobytes()
            assert (x == draw(world.rank + k, 15).reshape(shape)).all()
            every_other = np.zeros((*shape, 2), np.float32)[..., 0]
            every_other[...] = x
            assert world.allreduce(every_other, op, out=every_other) is every_other
            assert every_other.tobytes() == seen.tobytes()
    assert bool(world._repeats) == world._unseen  # so this has tested what it is for


@ranks(2)
def test_a_call_like_an_earlier_one_is_checked_and_counted(world):
    comm, x = world.split(0), np.ones(3, np.float32)
    for _ in range(3):
        comm.allreduce(x)
    before = comm.seconds
    assert (comm.allreduce(x) == 2).all()
    assert comm.seconds > before or not comm._unseen  # virtual time stands still
    ledger = comm._transport.ledger
    calls = ledger.snapshot(False).calls[comm.name]
    assert calls.entered == len(calls.last) == 4 and ledger.inside is None
    assert calls.last[2].site != calls.last[3].site and "test_shared.py:" in calls.last[3].site
    assert calls.last[3] == msgspec.structs.replace(calls.last[0], site=calls.last[3].site)
    with pytest.raises(MessageError, match="got Tensor, not an array"):
        comm.allreduce(Tensor(x))


@ranks(2, virtual=())
def test_more_shapes_than_are_kept_ready(world):
    comm = world.split(0)
    for _ in range(2):
        for n in range(1, REPEATS + 3):
            assert (comm.allreduce(np.full(n, n)) == 2 * n).all()
    assert 0 < len(comm._repeats) <= REPEATS or BACKEND == "fake"


@ranks(1, 2, 3, 4)
def test_scaled_sums_are_those_of_scaled_arrays(world):
    for n in (0, 5, FEW + 1, ROW + 7):
        x = draw(world.rank, n)
        for op in ("sum", "mean", "max"):
            want = world.allreduce(x * np.float32(0.3), op, "ring" if n > FEW else "recursive_doubling")
            for _ in range(2):  # the second one is prepared
                got = x.copy()
                assert world.allreduce(got, op, out=got, scale=0.3) is got
                assert np.allclose(got, want, rtol=1e-6, atol=1e-7)
                assert (world.allreduce(x, op, scale=0.3) == got).all()
            for algorithm in VISIBLE:
                seen = world.allreduce(x, op, algorithm, scale=0.3)
                assert seen.tobytes() == world.allreduce(x, op, f"shared_{algorithm}", scale=0.3).tobytes()
    whole = np.ones(3, np.int64)
    for _ in range(2):  # of the second call the sum is prepared
        assert (world.allreduce(whole) == world.size).all()
        with pytest.raises(DTypeError, match=r"0\.5 times a number of int64 is not a int64; use float32"):
            world.allreduce(whole, scale=0.5)


@ranks(1, 2, 3, 4, 5, virtual=(1, 2, 3, 4, 5, 6, 7, 8, 9))
def test_blocks_are_bitwise_those_of_the_messages(world):
    p = world.size
    for n in (0, 1, 7, 3 * p, FEW // 2 * 2, FEW + 1, ROW + 7, 2 * ROW + 5):
        x = draw(world.rank, n)
        for algorithm in ("ring", "recursive_halving"):
            for scale in (None, 0.3):
                seen = world.reduce_scatter(x, "sum", algorithm, scale=scale)
                got = world.reduce_scatter(x, "sum", f"shared_{algorithm}", scale=scale)
                assert seen.tobytes() == got.tobytes()
        assert (x == draw(world.rank, n)).all()
        lengths = part_lengths(n, p)
        before = sum(lengths[: world.rank])
        for algorithm in ("ring", "recursive_doubling", "bruck"):
            whole = np.full(n, np.nan, np.float32)
            own = whole[before : before + lengths[world.rank]]
            own[...] = got
            world.allgather(own, f"shared_{algorithm}", out=whole)
            assert whole.tobytes() == world.allgather(got, algorithm, out=np.empty_like(whole)).tobytes()


@ranks(2, 3, 4, virtual=())
def test_rows_are_not_written_before_a_slow_rank_has_read_them(world):
    comms = [world, world.split(0)]  # a segment each
    late = itertools.cycle(range(world.size))

    def slowed(method):
        """One rank in turn is late after all have met and before it reads; the others go on."""

        def wrapped(self, *args):
            if method is not segment.Segment.meet:
                time.sleep(1e-3 * (next(late) == world.rank))
                return method(self, *args)
            method(self, *args)
            time.sleep(1e-3 * (next(late) == world.rank))

        return wrapped

    p, r, k = world.size, world.rank, 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segment.Segment, "meet", slowed(segment.Segment.meet))
        patch.setattr(Few, "take", slowed(Few.take))
        for comm, n, dtype in itertools.product(comms, (3 * p, ROW // p * p), (np.float32, np.float64)):
            own = slice(r * n // p, (r + 1) * n // p)
            for algorithm in ("auto", "shared", "shared_ring"):
                k += 1
                numbers = (np.arange(n) % 11 + k).astype(dtype)
                x, total = numbers + r, p * numbers + p * (p - 1) / 2
                ring = "auto" if algorithm == "auto" else "shared_ring"
                assert (comm.reduce_scatter(x, algorithm=ring) == total[own]).all()
                assert (comm.allreduce(x, algorithm=algorithm) == total).all()
                assert (comm.allreduce(x, algorithm=algorithm, scale=0.5) == total / 2).all()
                assert (comm.allgather(total[own], algorithm=ring) == total).all()
                assert (comm.allreduce(x[:2], algorithm=algorithm) == total[:2]).all()
                assert (comm.reduce_scatter(x, algorithm=ring, scale=2) == 2 * total[own]).all()


@ranks(1, 2, 3, 4)
def test_rows_that_do_not_divide_and_other_reductions(world):
    p, x = world.size, draw(world.rank, 3 * (FEW + 1)).reshape(-1, 3)
    for op in ("sum", "mean", "max"):
        seen = world.reduce_scatter(x, op, "ring")
        assert seen.tobytes() == world.reduce_scatter(x, op, "shared_ring").tobytes()
        whole = world.allgather(seen, "shared_ring", out=np.empty_like(x))
        assert whole.tobytes() == world.allgather(seen, "ring", out=np.empty_like(x)).tobytes()
    few = world.reduce_scatter(np.arange(p) % 2 == 0, "max", "shared_ring")
    assert few.tolist() == [world.rank % 2 == 0]


@ranks(1, 2, 3, 4)
def test_a_block_of_x_is_filled_in_place(world):
    p, r = world.size, world.rank
    for algorithm, n, scale in itertools.product(
        ("auto", "ring", "native"), (2 * p, p * (FEW + 3)), (None, 0.5)
    ):
        x, total = np.full((n, 2), r + 1.0, np.float32), p * (p + 1) / 2 * (scale or 1)
        own = x[r * n // p : (r + 1) * n // p]
        assert world.reduce_scatter(x, algorithm=algorithm, out=own, scale=scale) is own
        assert (own == total).all() and (x == r + 1).sum() >= x.size - own.size
        assert world.allgather(own, algorithm, out=x) is x and (x == total).all()
        x[...] = r + 1
        elsewhere = x[-(n // p) :] if r == 0 else x[: n // p]
        world.reduce_scatter(x, algorithm=algorithm, out=elsewhere, scale=scale)
        assert (elsewhere == total).all()
