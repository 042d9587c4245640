"""Shards sized to speed: measured shares, and the step time that the formula predicts."""

import numpy as np
import pytest
from ranks import ranks

import mpipar as mp
from mpipar.errors import OptionError
from mpipar.parallel.data import DataParallel
from mpipar.parallel.shares import balanced_seconds, measure_speeds, step_seconds
from mpipar.tensor import cross_entropy

X = np.random.default_rng(0).standard_normal((120, 6))
Y = np.random.default_rng(1).integers(0, 3, 120)
SECONDS = 1e-3  # of a fast rank for a sample


def slow_down(world):
    """Rank 1 is three times slower."""
    return SECONDS * (3 if world.rank == 1 else 1)


def epoch(world, weights):
    """One epoch of batches of 40.   returns: (seconds of each step, samples of each, model)"""
    model = mp.nn.MLP([6, 5, 3], seed=0, dtype=np.float64)
    replica = DataParallel(model, world)
    optimizer = mp.optim.SGD(model.parameters(), lr=0.1)
    sampler = mp.data.DistributedSampler(120, world.rank, world.size, 40, seed=3, weights=weights)
    times, counts = [], []
    for batch in mp.data.Loader(X, Y, sampler):
        world.barrier()
        start = world.wtime()
        optimizer.zero_grad()
        with replica.averaging(batch.share):
            if len(batch.y):
                cross_entropy(model(mp.Tensor(batch.x)), batch.y).backward()
                world.pause(len(batch.y) * slow_down(world))
        optimizer.step()
        times.append(world.wtime() - start)
        counts.append(len(batch.y))
    return times, counts, model


def test_a_slow_rank_holds_up_equal_shares_and_not_measured_ones():
    """4 ranks, 40 samples, one rank 3 times slower: 3 · 10 ms become 40 / (10/3) = 12 ms."""

    def run(world):
        speeds = measure_speeds(world, lambda: world.pause(8 * slow_down(world)), samples=8)
        return speeds, epoch(world, None)[:2], epoch(world, speeds)[:2]

    results = mp.virtual.run(run, 4)
    for speeds, equal, sized in results:
        assert speeds == pytest.approx([1000, 1000 / 3, 1000, 1000])
        assert equal == ([pytest.approx(0.030, rel=1e-2)] * 3, [10] * 3)
        assert sized[0] == [pytest.approx(0.012, rel=1e-2)] * 3
        assert balanced_seconds(40, speeds) == pytest.approx(0.012)
        assert step_seconds([10] * 4, speeds) == pytest.approx(0.030)
    assert [sized[1] for _, _, sized in results] == [[12] * 3, [4] * 3, [12] * 3, [12] * 3]


@ranks(1, 2, 3, 4)
def test_training_does_not_depend_on_the_shares(world):
    weights = [1.0, 0.25, 0.0, 2.0][: world.size]
    _, counts, model = epoch(world, weights)
    assert world.size < 3 or (world.rank == 2) == (counts == [0, 0, 0])
    serial = mp.nn.MLP([6, 5, 3], seed=0, dtype=np.float64)
    optimizer = mp.optim.SGD(serial.parameters(), lr=0.1)
    for batch in mp.data.Loader(X, Y, mp.data.DistributedSampler(120, 0, 1, 40, seed=3)):
        optimizer.zero_grad()
        cross_entropy(serial(mp.Tensor(batch.x)), batch.y).backward()
        optimizer.step()
    for p, q in zip(model.parameters(), serial.parameters(), strict=True):
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-12, atol=1e-15)


@ranks(2)
def test_the_median_is_not_misled_by_one_slow_step(world):
    calls = iter([0.5, 0.004, 0.004, 0.5, 0.004, 0.004])  # the first is to warm up
    speeds = measure_speeds(world, lambda: world.pause(next(calls)), samples=4)
    assert len(speeds) == 2
    assert all(60 < v < 1001 for v in speeds)  # by the mean it were 39


def test_nothing_to_measure():
    def run(world):
        with pytest.raises(OptionError, match="samples=0, repeat=5: both must be at least 1"):
            measure_speeds(world, lambda: None, samples=0)
        assert measure_speeds(world, lambda: None, samples=3)[0] > 0  # a step of no time at all

    mp.virtual.run(run, 1)
