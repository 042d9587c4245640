"""Virtual ranks: their clock against closed formulas, order, deadlocks, and being apart."""

import sys
import threading
import time
from functools import partial

import numpy as np
import pytest

import mpipar
from mpipar.comm import ANY_SOURCE, ANY_TAG, virtual
from mpipar.comm.network import Link, Network, Topology
from mpipar.comm.world import rank_here
from mpipar.errors import DeadlockError, LaunchError, MessageError, OptionError
from mpipar.trace import read

run = partial(virtual.run, check="off")  # checking has tests of its own, in test_checks.py

ALPHA, BETA, GAMMA, OVERHEAD = 1e-6, 1e-9, 1e-10, 2e-7
LOGGP = Topology((Link(ALPHA, BETA, OVERHEAD),), GAMMA, eager_limit=4000)
PLAIN = Topology((Link(ALPHA, BETA),), GAMMA, eager_limit=4000)
FREE = Network(0, 0, 0)


def close(seconds):
    return pytest.approx(seconds, abs=0.6e-9)  # a clock shows whole nanoseconds


# time


@pytest.mark.parametrize("n", [0, 8, 4000, 4008, 1_000_000])
def test_a_ping_pong_takes_what_the_model_says(n):
    def ping_pong(world):
        x = np.zeros(n, np.uint8)
        for _ in range(5):
            for sender in (0, 1):
                world.send(x, 1 - world.rank) if world.rank == sender else world.recv(x)
        return world.wtime()

    leg = 2 * OVERHEAD + ALPHA + n * BETA
    pong = n * BETA + OVERHEAD if n > 4000 else OVERHEAD  # when the last send returns
    assert run(ping_pong, 2, LOGGP) == [close(10 * leg), close(9 * leg + pong)]


@pytest.mark.parametrize("p", [2, 3, 4, 8])
@pytest.mark.parametrize("topology, o", [(PLAIN, 0), (LOGGP, OVERHEAD)])
def test_a_ring_allreduce_takes_what_the_model_says(p, topology, o):
    def allreduce(world):
        world.allreduce(np.ones(1000 * p), algorithm="ring")
        return world.wtime()

    n = 8 * 1000 * p
    expected = 2 * (p - 1) * (2 * o + ALPHA + n / p * BETA) + (p - 1) * n / p * GAMMA
    assert run(allreduce, p, topology) == [close(expected)] * p


def test_a_port_sends_one_message_at_a_time():
    def fan_out(world):
        x = np.zeros(4000, np.uint8)
        if world.rank:
            world.recv(x, 0)
        else:
            for dest in (1, 2, 3):
                world.send(x, dest)
        return world.wtime()

    leg = 2 * OVERHEAD + ALPHA + 4000 * BETA
    # the sends return after their overheads, but the bytes leave one after the other
    assert run(fan_out, 4, LOGGP) == [close(3 * OVERHEAD), *(close(leg + k * 4000 * BETA) for k in range(3))]


def test_a_port_receives_one_message_at_a_time():
    def fan_in(world):
        x = np.zeros(4000, np.uint8)
        if world.rank:
            world.send(x, 0)
        else:
            for source in (3, 2, 1):
                world.recv(x, source)
        return world.wtime()

    # rank 1's bytes come first and rank 3's last, whatever order they are received in
    assert run(fan_in, 4, PLAIN)[0] == close(ALPHA + 3 * 4000 * BETA)


def test_a_rendezvous_starts_when_both_are_there_and_an_eager_send_does_not_wait():
    def late_receiver(world, n):
        x = np.zeros(n, np.uint8)
        if world.rank == 0:
            world.send(x, 1)
        elif world.rank == 1:
            world.recv(np.zeros(0), 2)  # keeps the receiver busy until ALPHA
            world.recv(x, 0)
        else:
            world.send(np.zeros(0), 1)
        return world.wtime()

    assert run(late_receiver, 3, PLAIN, args=(4000,))[:2] == [0, close(ALPHA + 4000 * BETA)]
    rendezvous = run(late_receiver, 3, PLAIN, args=(5000,))[:2]
    assert rendezvous == [close(ALPHA + 5000 * BETA), close(2 * ALPHA + 5000 * BETA)]


def test_links_of_a_topology_differ():
    links = (Link(1e-6, 0), Link(2e-6, 0), Link(4e-6, 0))
    topology = Topology(links, 0, ranks_per_socket=2, sockets_per_node=2)

    def from_rank_0(world):
        x = np.zeros(1)
        if world.rank:
            world.recv(x, 0)
        else:
            for dest in range(1, 5):
                world.send(x, dest)
        return world.wtime()

    assert run(from_rank_0, 5, topology) == [0, 1e-6, 2e-6, 2e-6, 4e-6]


def test_measured_computation_moves_the_clock():
    def compute(world):
        end = time.thread_time() + 0.005
        while time.thread_time() < end:
            pass
        return world.wtime()

    assert run(compute, 2, compute="none") == [0, 0]
    first, second = run(compute, 2, compute="measured")
    assert 0.005 <= first < 0.1 and 0.005 <= second < 0.1  # each counts its own time


# order


def test_any_source_takes_the_earliest_arrival():
    def race(world):
        x = np.array([world.rank])
        if world.rank == 0:
            return [int(world.recv(x, ANY_SOURCE, ANY_TAG)[0]) for _ in range(3)]
        if world.rank < 3:  # 2 hears from 3 first, 1 from 2: they send in the order 3, 2, 1
            world.recv(np.array([0]), world.rank + 1)
        world.send(x, 0)
        if world.rank > 1:
            world.send(x, world.rank - 1)
        return None

    assert run(race, 4)[0] == [3, 2, 1]


def test_of_messages_that_arrive_together_the_lowest_rank_comes_first():
    def race(world):
        x = np.array([world.rank])
        if world.rank:
            world.send(x, 0)
            return None
        return [int(world.recv(x)[0]) for _ in range(world.size - 1)]

    assert run(race, 9)[0] == list(range(1, 9))


def test_messages_do_not_overtake_each_other_whatever_their_size():
    def order(world):
        if world.rank:
            outs = [np.zeros(n) for n in (10, 2000, 10, 2000)]
            requests = [world.irecv(out, 0, ANY_TAG) for out in outs]
            for request in requests:
                request.wait()
            return [out[0] for out in outs]
        requests = [world.isend(np.full(n, float(k)), 1, k) for k, n in enumerate((10, 2000, 10, 2000))]
        for request in requests:
            request.wait()
        return None

    assert run(order, 2, PLAIN)[1] == [0, 1, 2, 3]


def test_a_loop_of_test_lets_others_run_and_time_pass():
    def poll(world):
        out = np.zeros(1)
        if world.rank:
            world.recv(out, 0)
            world.send(out + 1, 0)
            return None
        request, polls = world.irecv(out, 1), 0
        world.send(out, 1)
        while not request.test():
            polls += 1
        return polls, out[0], world.wtime()

    for compute in ("none", "measured"):
        polls, got, clock = run(poll, 2, PLAIN, compute=compute)[0]
        assert polls >= 1 or compute == "measured"  # what is measured may outlast the message
        assert polls < 5000 and got == 1 and clock >= 2 * (ALPHA + 8 * BETA)


def test_a_message_that_comes_during_a_test_wakes_its_rank_once():
    def program(world):
        x, out = np.zeros(1), np.zeros(1)
        if world.rank:
            world.recv(out, 0)
            world.send(out + 1, 0)
            world.recv(out, 0)
            world.send(out + 2, 0)
            return None
        request = world.irecv(out, 1)
        world.send(x, 1)
        for _ in range(30):  # overheads: its clock runs ahead of what has happened elsewhere
            world.isend(x, 0, tag=9)
        first = request.test()
        late = world.irecv(out, 1)
        world.send(x, 1)
        late.wait()
        return first, out[0]

    assert run(program, 2, LOGGP)[0] == (True, 2)


def test_a_loop_of_test_with_an_end_of_its_own_ends():
    def impatient(world):
        request = world.irecv(np.zeros(1), 1 - world.rank)
        return sum(request.test() for _ in range(100))

    assert run(impatient, 2) == [0, 0]


def test_many_sends_ahead_of_the_receiver():
    def stream(world):
        x = np.zeros(1)
        for k in range(2000):
            if world.rank:
                assert world.recv(x, 0)[0] == k
            else:
                world.send(np.array([float(k)]), 1)
        return world.wtime()

    assert run(stream, 2, PLAIN) == [0, close(ALPHA + 2000 * 8 * BETA)]


def test_two_runs_write_the_same_trace_byte_for_byte(tmp_path):
    def program(world):
        x = np.random.default_rng(world.rank).standard_normal(100)
        with world.scope("work", step=1, micro=2):
            world.allreduce(x)
            half = world.split(world.rank % 2)
            half.bcast(x)
            world.barrier(algorithm="native")

    for name in "ab":
        run(program, 5, trace=tmp_path / name)
    files = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert files == ["meta.json", *(f"rank-{r:04}.jsonl" for r in range(5))]
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)
    trace = read(tmp_path / "a")
    assert not trace.problems and trace.meta["transport"] == "virtual"
    assert {(e.step, e.micro, e.scope) for _, e in trace.events()} == {(1, 2, "work")}
    barrier = next(e for e in trace.ranks[3].events if e.op == "barrier")
    assert barrier.algorithm == "dissemination (for native)"


def test_a_long_trace_is_written_as_it_goes(tmp_path):
    def program(world):
        x = np.zeros(1)
        for _ in range(400):
            world.sendrecv(x, 1 - world.rank, 1 - world.rank, out=x)
        return len(world.recorder._rows), (tmp_path / f"rank-{world.rank:04}.jsonl").stat().st_size

    for kept, written in run(program, 2, trace=tmp_path):
        assert kept < 300 and written > 10_000


def test_a_thousand_ranks():
    def program(world):
        x = np.full(4, float(world.rank == 1000))
        world.bcast(x, root=1000, algorithm="binomial")
        world.barrier()
        return x[0], world.wtime()

    values, clocks = zip(*run(program, 1024, PLAIN), strict=True)
    assert values == (1,) * 1024
    # a bcast of 10 rounds, in which the root's port sends 10 messages, and a barrier of 10
    assert max(clocks) == close(10 * (ALPHA + 32 * BETA) + 10 * ALPHA)


# deadlocks


def stuck(function, ranks, network=None, compute="none"):
    with pytest.raises(DeadlockError) as caught:
        run(function, ranks, network, compute=compute)
    return caught.value


def test_a_cycle_of_receives():
    def cycle(world):
        world.recv(np.zeros(1), (world.rank + 1) % world.size, tag=7)

    error = stuck(cycle, 3)
    line = cycle.__code__.co_firstlineno + 1
    assert f"rank 1 waits in recv(source=2, tag=7) at tests/comm/test_virtual.py:{line}" in str(error)
    assert "rank 0 → rank 1 → rank 2 → rank 0" in str(error)
    first = error.waiting[0]
    assert (first.op, first.peer, first.tag, first.comm, first.collective) == ("recv", 1, 7, "world", "")


def test_a_ring_of_sends_passes_while_they_are_eager_and_not_above():
    def ring(world, n):
        x = np.zeros(n, np.uint8)
        world.send(x, (world.rank + 1) % world.size)
        world.recv(x, (world.rank - 1) % world.size)

    run(ring, 3, PLAIN, args=(4000,))
    error = stuck(lambda world: ring(world, 4001), 3, PLAIN)
    assert "rank 2 waits in send(dest=0, tag=0)" in str(error) and "receive first" in str(error)


def test_a_rank_missing_from_a_collective():
    def missing(world):
        if world.rank == 1:
            return
        world.allreduce(np.ones(4), algorithm="ring")

    error = stuck(missing, 3)
    assert "of allreduce at tests/comm/test_virtual.py" in str(error) and "rank 1 has ended" in str(error)
    assert [w.collective for w in error.waiting] == ["allreduce", "", "allreduce"]
    assert error.waiting[1].ended


def test_different_collectives():
    def different(world):
        world.barrier() if world.rank == 0 else world.bcast(np.zeros(1), root=0)

    assert "the same collective calls" in str(stuck(different, 2))


def test_other_waits_are_named():
    def wait(world):
        world.irecv(np.zeros(1), 0, tag=3).wait()

    assert "rank 0 waits in wait(source=0, tag=3)" in str(stuck(wait, 1))

    def any_source(world):
        world.recv(np.zeros(1))

    assert "recv(source=ANY_SOURCE) at" in str(stuck(any_source, 2))

    def split(world):
        if world.rank:
            world.split(0)

    assert "rank 1 waits in split at tests/comm/test_virtual.py" in str(stuck(split, 2))

    def on_a_part(world):
        part = world.split(world.rank % 2)
        part.recv(np.zeros(1), 1 - part.rank)

    error = stuck(on_a_part, 4)
    assert error.waiting[2].peer == 0 and "on world/0:0" in str(error)

    def polling(world):
        request = world.irecv(np.zeros(1), 1 - world.rank)
        while not request.test():
            pass

    for compute in ("none", "measured"):
        assert "test(source=1" in str(stuck(polling, 2, compute=compute))


def test_of_many_ranks_a_few_are_listed():
    error = stuck(lambda world: world.recv(np.zeros(1), (world.rank + 1) % world.size), 64)
    assert "and 56 more ranks wait" in str(error) and len(str(error).splitlines()) < 14


# ranks apart from each other


def test_each_rank_has_its_own_world_and_context():
    def program(world):
        assert mpipar.world() is world and rank_here() == world.rank
        with mpipar.no_grad():
            world.barrier() if world.rank else None
            return mpipar.Tensor(np.ones(1), requires_grad=True).requires_grad

    run(program, 1)
    results = run(lambda world: world.rank, 5)
    assert results == list(range(5)) and rank_here() == 0


def test_a_run_inside_a_run():
    def outer(world):
        inner = run(lambda world: int(world.allreduce(np.ones(1))[0]), 3)
        return inner, int(world.allreduce(np.ones(1))[0])

    assert run(outer, 2) == [([3, 3, 3], 2)] * 2


def test_what_a_rank_raises_ends_the_run_and_names_it():
    unwound = []

    def program(world):
        if world.rank == 2:
            raise ValueError("mine")
        try:
            world.recv(np.zeros(1), 2)
        finally:
            unwound.append(world.rank)

    with pytest.raises(ValueError, match="mine") as caught:
        run(program, 3)
    assert caught.value.rank == 2 and unwound == [0, 1]


def test_sys_exit_ends_one_rank_or_all():
    def leaves(world, code):
        if world.rank == 0:
            sys.exit(code)
        return world.rank

    assert run(leaves, 3, args=(0,)) == [None, 1, 2]
    with pytest.raises(SystemExit) as caught:
        run(leaves, 3, args=(3,))
    assert caught.value.code == 3


def test_a_thread_must_not_send():
    def program(world):
        said = []

        def in_thread():
            for call in (lambda: world.send(np.zeros(1), 0), mpipar.world):
                try:
                    call()
                except (MessageError, LaunchError) as error:
                    said.append(str(error))

        thread = threading.Thread(target=in_thread)
        thread.start()
        thread.join()
        return said

    sent, world = run(program, 1)[0]
    assert "thread that is not the rank's own" in sent and "has no world" in world


def test_mistakes_are_named():
    with pytest.raises(LaunchError, match="0 ranks cannot run anything"):
        run(print, 0)
    with pytest.raises(OptionError, match="compute='all' is unknown; choose measured or none"):
        run(print, 1, compute="all")


def test_a_message_too_long_is_an_error_for_small_and_large():
    def program(world, n):
        if world.rank == 0:
            world.send(np.zeros(n), 1)
        else:
            world.recv(np.zeros(2), 0)

    for n in (3, 3000):
        with pytest.raises(MessageError, match="longer than the 16 bytes"):
            run(program, 2, args=(n,))


def test_free_messages_take_no_time():
    assert run(lambda world: (world.barrier(), world.wtime())[1], 8, FREE) == [0] * 8


def test_a_request_is_recorded_with_the_line_that_began_it(tmp_path):
    def program(world):
        request = world.irecv(np.zeros(1), 0)
        world.isend(np.zeros(1), 0).wait()
        request.wait()

    run(program, 1, trace=tmp_path)
    sites = {e.op: int(e.site.rpartition(":")[2]) for e in read(tmp_path).ranks[0].events if e.op != "wait"}
    first = program.__code__.co_firstlineno
    assert sites == {"irecv": first + 1, "isend": first + 2}
