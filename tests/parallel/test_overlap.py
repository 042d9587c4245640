"""The ladder in the trace: the same bytes, fewer messages, and rings behind backward."""

import numpy as np
import pytest
from ranks import ranks
from traced import traced

import mpipar as mp
from mpipar.comm.network import Network
from mpipar.errors import LayoutError
from mpipar.parallel.buckets import STRATEGIES
from mpipar.parallel.data import DataParallel
from mpipar.tensor import Tensor
from mpipar.trace import read
from mpipar.view.analysis import kinds
from mpipar.view.rounds import calls

LAYERS, WIDTH, OPERATIONS = 5, 40, 6


class Slow(mp.nn.Module):
    """A stack of layers without biases whose backward takes `seconds` a layer.

    backwards: layers are registered in the order in which backward hears of them
    abreast: no rank goes on before all have computed, as on a machine where none is late
    """

    def __init__(self, world, seconds=0.0, backwards=False, abreast=False):
        super().__init__()
        self.world, self.seconds, self.backwards, self.abreast = world, seconds, backwards, abreast
        self.weights = mp.nn.ModuleList(
            [mp.nn.Linear(WIDTH, WIDTH, bias=False, seed=k, dtype=np.float64) for k in range(LAYERS)]
        )

    def __call__(self, x):
        layers = list(self.weights)
        for layer in layers[::-1] if self.backwards else layers:
            x = layer(x).tanh()
            for _ in range(OPERATIONS):
                x = self.slow(x)
        return x.sum()

    def slow(self, x):
        """y = x;   dx = dy, after a pause in which an accelerator would compute."""

        def vjp(dy):
            self.world.pause(self.seconds / OPERATIONS)
            if self.abreast:
                self.world.barrier()
            return (dy,)

        return Tensor(x.data, (x,), vjp)


def step(world, strategy, seconds=0.0, **more):
    """One step, a bucket a layer where there are buckets.   returns: (all gradients, seconds)"""
    model = Slow(world, seconds, **more)
    replica = DataParallel(
        model, world, strategy, bucket_bytes=1, algorithm="auto" if strategy == "overlap" else "ring"
    )
    world.barrier()
    loss = replica(Tensor(np.random.default_rng(world.rank).standard_normal((3, WIDTH))))
    start = world.wtime()
    with world.scope("step"), replica.averaging(), world.scope("backward"):
        loss.backward()
    return replica.flats[0].grad, world.wtime() - start


@ranks(1, 2, 3, 4)
def test_all_rungs_send_the_same_bytes_in_fewer_messages(world):
    p, n = world.size, LAYERS * WIDTH**2
    allreduces = {"naive": LAYERS, "flat": 1, "bucketed": LAYERS, "overlap": LAYERS}
    for strategy in STRATEGIES:
        trace = traced(world, lambda comm, strategy=strategy: step(comm, strategy))
        if trace is None:
            continue
        op = "iallreduce" if strategy == "overlap" else "allreduce"
        found = [c for c in calls(trace) if c.operation == op and c.algorithm == "ring" and c.bytes > 100]
        assert len(found) == allreduces[strategy]
        for rank in range(p):
            assert sum(c.messages[rank] for c in found) == 2 * (p - 1) * len(found)
        assert sum(c.sent[r] for c in found for r in range(p)) == 2 * (p - 1) * n * 8


@ranks(2, 3, 4)
def test_steps_are_driven_during_backward(world):
    """More than the first step of each ring leaves before backward ends."""
    trace = traced(world, lambda comm: step(comm, "overlap", seconds=0.02, abreast=True))
    if trace is None:
        return
    for of in trace.ranks.values():
        backward = next(e for e in of.events if e.op == "scope" and e.scope == "step/backward")
        rings = {e.seq for e in of.events if e.op == "iallreduce"}
        during = [e for e in of.events if e.op == "isend" and e.parent in rings and e.start < backward.end]
        assert len(rings) == LAYERS
        assert len(during) > LAYERS
        # 20 ms of computing lie behind every bucket but the last
        done = sum(e.end < backward.end for e in of.events if e.seq in rings)
        assert done >= 1
        waits = [e for e in of.events if e.op == "wait" and e.parent in rings]
        assert len(waits) == LAYERS
        assert all(e.scope == "step/average gradients" for e in waits)


@ranks(1, 2, 3, 4)
def test_buckets_leave_in_one_order_whatever_backward_hears_first(world):
    """Also where layers are registered in the order of backward, so that all leave at its end."""
    for backwards in (False, True):
        wanted, _ = step(world, "bucketed", backwards=backwards)
        got, _ = step(world, "overlap", backwards=backwards)
        assert mp.arrays.to_host(got).tobytes() == mp.arrays.to_host(wanted).tobytes()


def blocked(trace):
    """ns that rank 0 was blocked in allreduces, or in waits for those that were started."""
    events = trace.ranks[0].events
    large = {e.seq for e in events if e.op in ("allreduce", "iallreduce") and e.bytes > 1000}
    counts = [
        e
        for e in events
        if (e.op == "allreduce" and e.seq in large) or (e.op == "wait" and e.parent in large)
    ]
    return sum(e.end - e.start for e in counts)


def test_only_the_last_ring_is_not_hidden(tmp_path):
    """4 ranks, a bucket of 12,800 bytes: 6 steps of alpha + 3200 beta = 0.1 ms + 0.32 ms, 2.52 ms a ring.

    In backward each of 5 layers computes for 4 ms, in 6 operations. So the rings of 4 layers are driven to
    their ends behind the layer that is computed next.
    """
    network, times, waited = Network(1e-4, 1e-7, 0.0), {}, {}
    for strategy in STRATEGIES:
        folder = tmp_path / strategy
        times[strategy] = mp.virtual.run(
            lambda world, strategy=strategy: step(world, strategy, 4e-3)[1], 4, network, trace=folder
        )[0]
        waited[strategy] = blocked(read(folder)) / 1e9
    ring = 6 * (1e-4 + 3200e-7)
    assert times["bucketed"] == pytest.approx(5 * 4e-3 + 5 * ring)
    assert waited["bucketed"] == pytest.approx(5 * ring)
    assert times["flat"] == pytest.approx(5 * 4e-3 + 6 * (1e-4 + 16000e-7))
    assert times["overlap"] == pytest.approx(5 * 4e-3 + waited["overlap"])
    assert waited["overlap"] == pytest.approx(ring)
    started = next(kind for kind in kinds(read(tmp_path / "overlap")) if kind.name == "iallreduce ring")
    assert float(started.nanoseconds) / 1e9 == pytest.approx(ring)
    assert (started.calls, started.messages, started.ratio) == (5, 5 * 4 * 6, 1.0)


def test_a_second_backward_inside_is_named():
    def run(world):
        replica = DataParallel(Slow(world), world, "overlap", bucket_bytes=1)
        x = Tensor(np.ones((2, WIDTH)))
        with replica.averaging():
            replica(x).backward()
            with pytest.raises(
                LayoutError, match=r"another gradient after its bucket, 0 of 5, had left; call"
            ):
                replica(x).backward()

    mp.virtual.run(run, 2)


def test_an_error_inside_leaves_no_hooks():
    def run(world):
        replica = DataParallel(Slow(world), world, "overlap")
        x = Tensor(np.ones((2, WIDTH)))
        with pytest.raises(ZeroDivisionError), replica.averaging():
            1 / 0  # noqa: B018
        replica(x).backward()
        assert all(p.hooks == [] for p in replica.model.parameters())
        with replica.averaging():
            pass

    mp.virtual.run(run, 2)
