"""Data parallel training against its serial twin, and the mistakes it names."""

import numpy as np
import pytest
from ranks import ranks

import mpipar as mp
from mpipar.arrays import asarray, to_host
from mpipar.errors import LayoutError
from mpipar.parallel.data import DataParallel, cut_buckets
from mpipar.tensor import cross_entropy

WIDTHS = [12, 16, 8, 5]
DRAW = np.random.default_rng(0)
X, Y = DRAW.standard_normal((46, 12)), DRAW.integers(0, 5, 46)


def build(seed=0, dtype=np.float64):
    return mp.nn.MLP(WIDTHS, seed=seed, dtype=dtype)


def train(model, rank, size, average, batch_size, steps_of=3):
    """A few epochs; returns the sum of weighted losses of this rank."""
    optimizer = mp.optim.AdamW(model.parameters(), lr=1e-2)
    sampler = mp.data.DistributedSampler(len(X), rank, size, batch_size, seed=1)
    total = 0.0
    for epoch in range(steps_of):
        sampler.set_epoch(epoch)
        for x, y, share, _ in mp.data.Loader(X, Y, sampler):
            optimizer.zero_grad()
            if share:
                loss = cross_entropy(model(mp.Tensor(x)), y)
                loss.backward()
                total += loss.item() * share
            average(share)
            optimizer.step()
    return total


@ranks(1, 2, 3, 4)
def test_training_equals_the_serial_twin(world):
    """Also with a last batch of 1 sample, which leaves all ranks but one without any."""
    for batch_size in (46, 15, 9):
        serial = build()
        expected = train(serial, 0, 1, lambda share: None, batch_size)
        model = build()
        replica = DataParallel(model, world, bucket_bytes=600)
        total = train(model, world.rank, world.size, replica.average_gradients, batch_size)
        np.testing.assert_allclose(world.allreduce(np.array([total]))[0], expected, rtol=1e-12)
        for (name, p), q in zip(model.named_parameters(), serial.parameters(), strict=True):
            np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-10, atol=1e-13, err_msg=name)
        replica.verify()


@ranks(2, 3)
def test_every_algorithm_gives_the_same_gradients(world):
    gradients = []
    for algorithm in ("ring", "naive", "native"):
        model = build()
        replica = DataParallel(model, world, algorithm=algorithm)
        cross_entropy(
            replica(mp.Tensor(X[world.rank :: world.size])), asarray(Y[world.rank :: world.size])
        ).backward()
        replica.average_gradients(len(Y[world.rank :: world.size]) / len(Y))
        gradients.append([to_host(p.grad) for p in model.parameters()])
    for other in gradients[1:]:
        for a, b in zip(gradients[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


@ranks(2, 3)
def test_replicas_start_as_rank_0s_model(world):
    model = build(seed=world.rank)
    DataParallel(model, world)
    for p, q in zip(model.parameters(), build(seed=0).parameters(), strict=True):
        assert (p.numpy() == q.numpy()).all()


@ranks(2, 3)
def test_different_models_are_noticed_before_anything_is_sent(world):
    widths = [4, 3] if world.rank < world.size - 1 else [4, 2]
    with pytest.raises(LayoutError, match=f"rank {world.size - 1} built another model than rank 0"):
        DataParallel(mp.nn.MLP(widths, seed=0), world)


@ranks(2, 3)
def test_a_replica_that_went_astray_is_named(world):
    model = build()
    replica = DataParallel(model, world)
    if world.rank == 1:
        parameter = dict(model.named_parameters())["2.weight"]
        parameter.data[0, 0] += 1e-15 + parameter.data[0, 0] * 1e-15
    with pytest.raises(LayoutError, match=r"2\.weight of rank 1 is not rank 0's"):
        replica.verify()


@ranks(1, 2)
def test_a_missing_gradient_is_named(world):
    model = build()
    replica = DataParallel(model, world)
    with pytest.raises(LayoutError, match=rf"0\.weight has no gradient on rank {world.rank}; call backward"):
        replica.average_gradients()


@ranks(2)
def test_frozen_parameters_start_equal_and_have_no_gradients_to_average(world):
    model = build(seed=world.rank)
    frozen = dict(model.named_parameters())["0.weight"]
    frozen.requires_grad = False
    replica = DataParallel(model, world)
    assert (frozen.numpy() == dict(build(seed=0).named_parameters())["0.weight"].numpy()).all()
    cross_entropy(replica(mp.Tensor(X)), asarray(Y)).backward()
    replica.average_gradients()
    assert frozen.grad is None
    assert sum(len(flat) for flat in replica.flats) == model.num_parameters() - frozen.size


@ranks(2)
def test_a_model_that_is_frozen_altogether_starts_equal(world):
    model = build(seed=world.rank).requires_grad_(False)
    assert DataParallel(model, world).flats == []
    for p, q in zip(model.parameters(), build(seed=0).parameters(), strict=True):
        assert (p.numpy() == q.numpy()).all()


@ranks(1, 2)
def test_parameters_frozen_on_one_rank_only_are_noticed(world):
    model = build()
    dict(model.named_parameters())["0.weight"].requires_grad = world.rank == 0
    if world.size == 1:
        DataParallel(model, world)
        return
    with pytest.raises(LayoutError, match="rank 1 built another model than rank 0"):
        DataParallel(model, world)


@ranks(1, 2)
def test_a_model_without_parameters_is_named(world):
    with pytest.raises(LayoutError, match="DataParallel: Module has no parameters, so there is nothing to"):
        DataParallel(mp.nn.Module(), world)


@pytest.mark.parametrize("bucket_bytes", [1, 100, 600, 10**9])
def test_buckets_are_views_that_cover_all_gradients_from_the_last_to_the_first(bucket_bytes):
    flat = mp.nn.flatten(build().parameters())
    buckets = list(cut_buckets(flat, bucket_bytes))
    assert [bucket.stop for bucket in buckets] == [len(flat.parameters), *(b.start for b in buckets[:-1])]
    assert buckets[-1].start == 0
    assert all(bucket.grad.nbytes >= bucket_bytes for bucket in buckets[:-1])
    for number, bucket in enumerate(buckets):
        bucket.grad[...] = number + 1.0
    assert (to_host(flat.grad) > 0).all()
    assert to_host(asarray(flat.grad)).sum() == sum((n + 1.0) * b.grad.size for n, b in enumerate(buckets))
