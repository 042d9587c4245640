"""The staged ring: sums as anywhere else, copies beside messages, and no copy read before its end."""

import itertools

import numpy as np
import pytest
from ranks import ranks
from traced import traced

from mpipar.arrays import BACKEND, Staging, asarray, on_device, staging, to_host
from mpipar.comm.collectives import choose, staged
from mpipar.comm.collectives.staged import PIECE, staged_ring_allreduce
from mpipar.comm.network import SHARED_MEMORY
from mpipar.comm.wire import AtHome

SIZES = (0, 1, 7, 1001, PIECE, 2 * PIECE + 5)
on_a_device = pytest.mark.skipif(BACKEND == "numpy", reason="on the host nothing is staged")


def draw(rank, n):
    return np.random.default_rng([rank, n]).standard_normal(n).astype(np.float32)


@ranks(1, 2, 3, 4)
def test_it_sums_the_same_on_all_ranks_wherever_the_array_is(world):
    for n in SIZES:
        wanted = sum(draw(r, n).astype(np.float64) for r in range(world.size))
        x = asarray(draw(world.rank, n)) * 1  # just computed: the copy has to wait for it
        got = world.allreduce(x, algorithm="staged_ring")
        np.testing.assert_allclose(to_host(got), wanted, rtol=1e-5, atol=1e-6)
        assert (to_host(x) == draw(world.rank, n)).all()  # unharmed
        assert on_device(got) == (BACKEND != "numpy")
        bits = to_host(got).tobytes()
        assert world.bcast(to_host(got).copy(), root=0).tobytes() == bits
        assert world.allreduce(draw(world.rank, n), algorithm="staged_ring").tobytes() == bits
        assert world.allreduce(x, "mean", "staged_ring", out=x) is x
        np.testing.assert_allclose(to_host(x * 2), wanted * 2 / world.size, rtol=1e-5, atol=1e-6)


@ranks(1, 2, 3, 4)
def test_a_started_one_gives_the_same_bits(world):
    arrays = [asarray(draw(world.rank, n)) for n in SIZES]
    requests = [world.iallreduce(x * 1, algorithm="staged_ring") for x in arrays]
    world.progress()
    requests[-1].test()
    for x, request in zip(arrays, requests, strict=True):
        wanted = world.allreduce(x, algorithm="staged_ring")
        assert to_host(request.wait()).tobytes() == to_host(wanted).tobytes()


@ranks(2, 3)
def test_auto_takes_it_for_what_is_staged_and_fills_a_piece(world):
    stages = BACKEND != "numpy" and not world._transport.reads_device

    def program(comm):
        for n in (PIECE - 1, PIECE):
            x = np.ones(n, np.float32)
            comm.allreduce(asarray(x))
            comm.iallreduce(asarray(x)).wait()
            comm.allreduce(x)

    trace = traced(world, program)
    if trace is not None:
        taken = [e.algorithm for e in trace.ranks[0].events if e.op in ("allreduce", "iallreduce")]
        staged = [k for k, algorithm in enumerate(taken) if algorithm == "staged_ring"]
        assert len(taken) == 6 and staged == ([3, 4] if stages else [])


def test_auto_on_one_rank_copies_nothing():
    asked = ("allreduce", "auto", PIECE, 4)
    assert choose(*asked, 1, SHARED_MEMORY, stages=True) != "staged_ring"
    assert choose(*asked, 2, SHARED_MEMORY, stages=True) == "staged_ring"
    assert choose("reduce_scatter", *asked[1:], 2, SHARED_MEMORY, stages=True) == "ring"


class Watched:
    """Stands for a communicator, and notes what the algorithm does piece by piece."""

    rank, size, pieces, phase = 0, 2, 0, ""

    def __init__(self):
        self.did, self.ready = [], []

    def on_host(self, x, ready):
        self.ready.append(ready)
        number, comm = self.pieces, self
        self.pieces += 1
        self.did.append(f"start {number}")

        class Visit(AtHome):
            def wait(self):
                comm.did.append(f"wait {number}")
                return super().wait()

            def bring_back(self, is_last):
                comm.did.append(f"back {number}" + ", the last" * is_last)

        return Visit(x)

    def sendrecv(self, x, *_, **tags):
        if self.phase == "allgather":
            self.did.append(self.stage + "ring")


def test_while_a_piece_is_summed_the_next_comes_and_the_last_goes(monkeypatch):
    comm, events = Watched(), itertools.count()
    monkeypatch.setattr(staged, "event_now", lambda x: next(events))
    staged_ring_allreduce(np.ones(3 * PIECE), comm, lambda mine, theirs: None)
    assert comm.ready == [0, 0, 0]  # no piece waits for what is computed while the sum goes on
    assert comm.did == [
        "start 0", "start 1", "wait 0", "piece 0: ring", "back 0",
        "start 2", "wait 1", "piece 1: ring", "back 1",
        "wait 2", "piece 2: ring", "back 2, the last",
    ]  # fmt: skip
    assert comm.stage == ""


@on_a_device
@ranks(2, 3)
def test_a_trace_shows_its_copies_and_pieces(world):
    n = 3 * PIECE
    trace = traced(
        world, lambda comm: comm.allreduce(asarray(np.ones(n, np.float32)), algorithm="staged_ring")
    )
    if trace is None:
        return
    for of in trace.ranks.values():
        copies = [(e.algorithm, e.bytes) for e in of.events if e.op == "copy"]
        one = [("device to host, started", 4 * PIECE), ("host to device, started", 4 * PIECE)]
        assert copies == 3 * one
        phases = list(dict.fromkeys(e.phase for e in of.events if e.op == "recv"))
        assert phases == [f"piece {k}: {part}" for k in range(3) for part in ("reduce-scatter", "allgather")]


@on_a_device
def test_three_pinned_buffers_are_enough(monkeypatch):
    made = []
    pinned = staging._empty_pinned
    monkeypatch.setattr(staging, "_empty_pinned", lambda nbytes: made.append(nbytes) or pinned(nbytes))
    stage, x = Staging(), asarray(np.arange(70.0)) * 1
    pieces = [x[10 * k : 10 * k + 10] for k in range(7)]
    arriving = stage.start_to_host(pieces[0])
    for k, piece in enumerate(pieces):
        host, copied = arriving
        arriving = stage.start_to_host(pieces[k + 1]) if k < 6 else None
        stage.wait_for(copied)
        host *= 2
        stage.start_back(host, piece)
    assert (to_host(x + 0) == 2 * np.arange(70)).all()
    assert len(made) == 3


@pytest.mark.skipif(BACKEND != "fake", reason="only the stand-in shows a race for certain")
def test_what_is_read_too_early_is_garbage():
    stage, x = Staging(), asarray(np.ones(4)) * 1
    host, copied = stage.start_to_host(x)
    assert np.isnan(host).all()
    stage.wait_for(copied)
    assert (host == 1).all()
    stage.start_back(host, x)
    host[...] = 5  # while it leaves
    assert (to_host(x) == 5).all()
