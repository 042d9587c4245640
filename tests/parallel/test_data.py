"""Data parallel training against its serial twin, and the mistakes it names."""

from contextlib import nullcontext

import numpy as np
import pytest
from ranks import ranks

import mpipar as mp
from mpipar.arrays import asarray, to_host
from mpipar.errors import LayoutError, OptionError
from mpipar.parallel.buckets import STRATEGIES, cut_buckets
from mpipar.parallel.data import DataParallel
from mpipar.tensor import cross_entropy

WIDTHS = [12, 16, 8, 5]
DRAW = np.random.default_rng(0)
X, Y = DRAW.standard_normal((46, 12)), DRAW.integers(0, 5, 46)


def build(seed=0, dtype=np.float64):
    return mp.nn.MLP(WIDTHS, seed=seed, dtype=dtype)


def train(model, rank, size, averaging, batch_size, weights=None, parts=1):
    """Two epochs; returns the sum of weighted losses of this rank."""
    optimizer = mp.optim.AdamW(model.parameters(), lr=1e-2)
    sampler = mp.data.DistributedSampler(len(X), rank, size, batch_size, seed=1, weights=weights)
    total = 0.0

    def backward(part, share):
        if not len(part.y):
            return 0.0
        loss = cross_entropy(model(mp.Tensor(part.x)), part.y) * part.weight
        loss.backward()
        return loss.item() * share

    for epoch in range(2):
        sampler.set_epoch(epoch)
        for batch in mp.data.Loader(X, Y, sampler):
            optimizer.zero_grad()
            *early, last = mp.data.micro_batches(batch, parts)
            for part in early:
                total += backward(part, batch.share)
            with averaging(batch.share):
                total += backward(last, batch.share)
            optimizer.step()
    return total


@ranks(1, 2, 3, 4)
def test_training_equals_the_serial_twin(world):
    """Every strategy, also with a last batch of 1 sample, which leaves all ranks but one without any;
    with unequal parts, one of them empty; and with micro-batches, some of them empty."""
    unequal = [0.0, 3.0, 1.0, 1.5][: world.size] if world.size > 1 else [1.0]
    for batch_size, weights, parts in ((46, None, 1), (15, unequal, 3), (9, None, 4)):
        serial = build()
        expected = train(serial, 0, 1, lambda share: nullcontext(), batch_size)
        for strategy in STRATEGIES:
            model = build()
            replica = DataParallel(model, world, strategy, bucket_bytes=600)
            total = train(model, world.rank, world.size, replica.averaging, batch_size, weights, parts)
            np.testing.assert_allclose(world.allreduce(np.array([total]))[0], expected, rtol=1e-12)
            same_parameters(model, serial, strategy)
            replica.verify()


def same_parameters(model, serial, strategy):
    for (name, p), q in zip(model.named_parameters(), serial.parameters(), strict=True):
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-9, atol=1e-12, err_msg=f"{name}, {strategy}")


@ranks(1, 2, 3, 4)
def test_average_gradients_after_backward_does_the_same(world):
    gradients = []
    for strategy in STRATEGIES:
        model = build()
        replica = DataParallel(model, world, strategy, bucket_bytes=600, algorithm="ring")
        mine = slice(world.rank, None, world.size)
        cross_entropy(replica(mp.Tensor(X[mine])), asarray(Y[mine])).backward()
        replica.average_gradients(len(Y[mine]) / len(Y))
        gradients.append([to_host(p.grad) for p in model.parameters()])
    serial = build()
    cross_entropy(serial(mp.Tensor(X)), asarray(Y)).backward()
    for some in gradients:
        for grad, p in zip(some, serial.parameters(), strict=True):
            np.testing.assert_allclose(grad, to_host(p.grad), rtol=1e-10, atol=1e-13)
    bucketed, overlap = gradients[2:]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(bucketed, overlap, strict=True))


@ranks(2)
def test_a_rank_without_samples_adds_nothing_whatever_its_gradients_hold(world):
    for strategy in STRATEGIES:
        model = build()
        replica = DataParallel(model, world, strategy)
        if world.rank == 0:
            cross_entropy(replica(mp.Tensor(X)), asarray(Y)).backward()
        else:
            for p in model.parameters():
                p.grad_buffer[...] = np.nan
        replica.average_gradients(1.0 if world.rank == 0 else 0)
        for name, p in model.named_parameters():
            assert np.isfinite(to_host(p.grad)).all(), f"{name} {strategy}"


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


class TiedAndUnused(mp.nn.Module):
    """w is used twice, the second time first in backward; `never` not at all, `rank0` on rank 0 only."""

    def __init__(self):
        super().__init__()
        draw = np.random.default_rng(3)
        for name in ("w", "never", "rank0", "last"):
            setattr(self, name, mp.nn.Parameter(draw.standard_normal((4, 4))))
        self.tied = self.w

    def __call__(self, x, rank):
        x = x @ self.w
        x = x @ self.rank0 if rank == 0 else x
        return ((x @ self.last).tanh() @ self.tied).sum()


@ranks(1, 2, 3, 4)
def test_tied_and_unused_parameters(world):
    x = np.random.default_rng(5).standard_normal((world.size, 3, 4))
    wanted = TiedAndUnused()
    for rank in range(world.size):
        wanted(mp.Tensor(x[rank]), rank).backward()
    for strategy in STRATEGIES:
        model = TiedAndUnused()
        replica = DataParallel(model, world, strategy, bucket_bytes=1, unused="zero")
        assert sum(len(flat) for flat in replica.flats) == 4 * 16  # the tied one once
        for flat in replica.flats:
            flat.grad[...] = np.nan  # what no backward has written must not count
        with replica.averaging(share=1):
            replica(mp.Tensor(x[world.rank]), world.rank).backward()
        for (name, p), q in zip(model.named_parameters(), wanted.parameters(), strict=True):
            expected = np.zeros((4, 4)) if q.grad is None else to_host(q.grad)
            np.testing.assert_allclose(to_host(p.grad), expected, rtol=1e-12, err_msg=f"{name} {strategy}")
        strict = DataParallel(TiedAndUnused(), world, strategy)
        if world.size == 1:
            with pytest.raises(LayoutError, match="never has no gradient on rank 0"), strict.averaging(1):
                strict(mp.Tensor(x[0]), 0).backward()


def test_options_that_do_not_exist():
    def run(world):
        with pytest.raises(OptionError, match="strategy='fast' is unknown; choose one of naive, flat, bucke"):
            DataParallel(build(), world, "fast")
        with pytest.raises(OptionError, match="unused='ignore' is unknown; choose error or zero"):
            DataParallel(build(), world, unused="ignore")

    mp.virtual.run(run, 1)


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
