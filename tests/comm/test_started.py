"""Collectives that are started: the results of allreduce, several at once, and their mistakes."""

import numpy as np
import pytest
from ranks import ranks
from traced import traced

import mpipar as mp
from mpipar.arrays import asarray, to_host
from mpipar.comm.network import Network
from mpipar.errors import DeadlockError, OptionError, VerdictError
from mpipar.trace import pair_messages

SIZES = (0, 1, 7, 3000)
SLOW = Network(alpha=1e-3, beta=1e-6, gamma=0.0)


def values(rank, n, dtype=np.float64):
    return np.random.default_rng([rank, n]).standard_normal(n).astype(dtype)


@ranks(1, 2, 3, 4, virtual=(1, 2, 3, 4, 9))
def test_it_is_bitwise_what_the_ring_gives(world):
    for n in SIZES:
        for op in ("sum", "prod", "max", "min", "mean"):
            x = asarray(values(world.rank, n, np.float32))
            got = world.iallreduce(x, op).wait()
            assert to_host(got).tobytes() == to_host(world.allreduce(x, op, "ring")).tobytes()
            assert (to_host(x) == values(world.rank, n, np.float32)).all()  # unharmed
    x = asarray(values(world.rank, 24).reshape(4, 6))
    view = x[:, ::2]
    request = world.iallreduce(view, out=view)
    assert request.wait() is view and request.wait() is view
    whole = sum(values(r, 24).reshape(4, 6) for r in range(world.size))
    np.testing.assert_allclose(to_host(x)[:, ::2], whole[:, ::2])
    assert (to_host(x)[:, 1::2] == values(world.rank, 24).reshape(4, 6)[:, 1::2]).all()


@ranks(2, 3, 4)
def test_several_at_once_in_any_order_of_waiting(world):
    """Ranks wait in different orders, with other collectives and messages on the way."""
    for n in SIZES:
        requests = [world.iallreduce(asarray(values(world.rank, n) + k)) for k in range(6)]
        assert world.allreduce(np.array([1.0]))[0] == world.size
        order = np.random.default_rng(world.rank).permutation(6)
        for k in order:
            wanted = sum(values(r, n) + k for r in range(world.size))
            np.testing.assert_allclose(to_host(requests[k].wait()), wanted, rtol=1e-12, atol=1e-14)


@ranks(2, 3)
def test_more_than_there_are_slots_for(world):
    comm = world.split(0)
    comm._under_way.slots = 2
    requests = [comm.iallreduce(np.full(5, k + world.rank)) for k in range(9)]
    for k, request in enumerate(requests):
        assert (request.wait() == sum(k + r for r in range(world.size))).all()


@ranks(1, 2, 3)
def test_a_loop_of_test_ends(world):
    request = world.iallreduce(np.arange(7.0))
    while not request.test():
        pass
    assert (request.wait() == np.arange(7.0) * world.size).all()


@ranks(1, 2)
def test_what_cannot_be_asked_for(world):
    with pytest.raises(OptionError, match="MPI's own is not offered; choose algorithm='ring'"):
        world.iallreduce(np.ones(2), algorithm="native")
    with pytest.raises(OptionError, match="algorithm='binomial' is unknown; choose one of ring"):
        world.iallreduce(np.ones(2), algorithm="binomial")


@ranks(3, 4)
def test_messages_in_the_trace_belong_to_their_own_collective(world):
    """Rings that are under way together, and a blocking one between: every pair has one parent's number."""

    def run(comm):
        requests = [comm.iallreduce(np.full(9, k)) for k in range(3)]
        comm.allreduce(np.ones(9, int), algorithm="ring")
        for request in requests[::-1] if comm.rank else requests:
            request.wait()

    trace = traced(world, run)
    if trace is None:
        return
    p, number = world.size, {}
    for rank, of in trace.ranks.items():
        calls = [e for e in of.events if e.op in ("iallreduce", "allreduce")]
        assert [e.op for e in calls] == ["iallreduce"] * 3 + ["allreduce"]
        number |= {(rank, e.seq): k for k, e in enumerate(calls)}
        waits = {e.parent for e in of.events if e.op == "wait"}
        assert waits >= {e.seq for e in calls[:3]}
    pairs = pair_messages(trace)
    assert len(pairs) == 4 * p * 2 * (p - 1)
    for sender, sent, receiver, received in pairs:
        assert number[sender, sent.parent] == number[receiver, received.parent]
        assert sent.end >= sent.start and received.end >= sent.start


def test_time_passes_behind_computing_and_only_the_rest_is_waited_for():
    """2 ranks, 1000 float64: two steps of alpha + 4000 beta = 5 ms each; computing takes them in turn."""

    def run(world, pieces, seconds):
        start, request = world.wtime(), world.iallreduce(np.ones(1000))
        for _ in range(pieces):
            world.pause(seconds)
            world.progress()
        before = world.wtime()
        request.wait()
        return before - start, world.wtime() - before

    alone = mp.virtual.run(run, 2, SLOW, args=(0, 0.0))
    assert [total for _, total in alone] == pytest.approx([0.010, 0.010])
    hidden = mp.virtual.run(run, 2, SLOW, args=(12, 0.001))
    assert hidden == [(pytest.approx(0.012), pytest.approx(0, abs=1e-9))] * 2
    half = mp.virtual.run(run, 2, SLOW, args=(7, 0.001))  # the second step starts at 5 ms
    assert half == [(pytest.approx(0.007), pytest.approx(0.003))] * 2
    undriven = mp.virtual.run(run, 2, SLOW, args=(1, 0.012))  # only the first step moves by itself
    assert undriven == [(pytest.approx(0.012), pytest.approx(0.005))] * 2


def test_tests_of_two_requests_do_not_let_time_pass():
    def run(world):
        a, b = world.irecv(np.empty(1), 0, 1), world.irecv(np.empty(1), 0, 2)
        world.isend(np.ones(1), 0, 1), world.isend(np.ones(1), 0, 2)
        assert not a.test() and not b.test()
        assert world.wtime() == 0
        a.wait(), b.wait()

    mp.virtual.run(run, 1, SLOW, check="off")


def wrong(function, ranks=2, error=VerdictError, **options):
    with pytest.raises(error) as caught:
        mp.virtual.run(function, ranks, **options)
    return str(caught.value)


def test_another_order_on_one_rank_is_named():
    def run(world):
        if world.rank == 1:
            world.allreduce(np.ones(3), algorithm="ring")
        request = world.iallreduce(np.ones(3))
        if world.rank == 0:
            world.allreduce(np.ones(3), algorithm="ring")
        request.wait()

    said = wrong(run, error=(VerdictError, DeadlockError))
    assert "different collectives" in said and "rank 1  calls allreduce(3 × float64" in said


def test_one_that_is_never_waited_for_is_named():
    def run(world):
        request = world.iallreduce(np.ones(3))
        if world.rank == 0:
            request.wait()
        else:
            while not request.done:
                world.progress()
                world.pause(1e-3)

    said = wrong(run)
    assert "request never completed" in said
    assert "rank 1  iallreduce at " in said and "was never waited for" in said and "rank 0" not in said


def test_a_rank_that_does_not_start_it_is_missed():
    def run(world):
        world.barrier()
        if world.rank != 1:
            requests = [world.iallreduce(np.ones(3)) for _ in range(2)]
            requests[0].wait()

    said = wrong(run, 3, DeadlockError)
    assert "missing collective" in said
    assert "rank 2  waits in iallreduce, collective 2 of world, for rank 1" in said
    assert "iallreduce, collective 2 of world, lacks rank 1" in said


def test_a_loop_of_test_that_cannot_end_is_a_deadlock():
    def run(world):
        request = world.iallreduce(np.ones(3)) if world.rank == 0 else None
        while request is not None and not request.test():
            pass

    said = wrong(run, 2, DeadlockError)
    assert "iallreduce, collective 1 of world, lacks rank 1" in said
    said = wrong(run, 2, DeadlockError, check="off")
    assert "rank 0 waits in test(source=1" in said and "of iallreduce at" in said


@pytest.mark.parametrize("change", ["isend", "iallreduce"])
def test_an_array_that_is_still_summed_cannot_be_used_again(change):
    def run(world):
        x = np.ones(3)
        request = world.iallreduce(x, out=x)
        if change == "isend":
            world.isend(x, 1 - world.rank)
        else:
            world.iallreduce(x, out=x)
        request.wait()

    said = wrong(run)
    kind = "buffer changed" if change == "isend" else "request started twice"
    assert kind in said and "still uses that array" in said
