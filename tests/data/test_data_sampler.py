"""The rule of the sampler, for every size; and the loader that follows it."""

import gc
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpipar.arrays import is_array, to_host, xp
from mpipar.data import DistributedSampler, Loader
from mpipar.errors import DataError, OptionError

cases = {
    "length": st.integers(1, 60),
    "batch_size": st.integers(1, 25),
    "size": st.integers(1, 9),
    "shuffle": st.booleans(),
    "seed": st.integers(0, 5),
    "epoch": st.integers(0, 3),
}


def ranks(length, batch_size, size, epoch=0, **options):
    """Every rank's sampler."""
    made = [DistributedSampler(length, r, size, batch_size, **options) for r in range(size)]
    for sampler in made:
        sampler.set_epoch(epoch)
    return made


@settings(deadline=None, max_examples=150)
@given(**cases)
def test_the_ranks_in_order_are_the_serial_run(size, **case):
    (serial,) = ranks(size=1, **case)
    whole = list(serial)
    parts = [list(sampler) for sampler in ranks(size=size, **case)]
    assert all(len(batches) == len(whole) == len(serial) for batches in parts)
    for number, batch in enumerate(whole):
        mine = [batches[number] for batches in parts]
        assert np.array_equal(np.concatenate(mine), batch)
        expected = np.array_split(batch, size)
        assert all(np.array_equal(a, b) for a, b in zip(mine, expected, strict=True))
    assert sorted(np.concatenate(whole)) == list(range(case["length"]))  # none lost, none twice
    assert all(len(batch) == case["batch_size"] for batch in whole[:-1])


@settings(deadline=None, max_examples=100)
@given(**cases)
def test_rows_say_where_a_rank_stands(size, **case):
    for sampler in ranks(size=size, **case):
        for number, batch in enumerate(sampler):
            start, stop, total = sampler.rows(number)
            whole = sampler.permutation()[number * case["batch_size"] :][: case["batch_size"]]
            assert total == len(whole) and np.array_equal(whole[start:stop], batch)


def test_epochs_and_seeds_shuffle_anew_and_again_the_same():
    a, b = ranks(50, 10, 2)
    first = a.permutation()
    assert np.array_equal(first, b.permutation()) and not np.array_equal(first, np.arange(50))
    a.set_epoch(1)
    assert not np.array_equal(first, a.permutation())
    a.set_epoch(0)
    assert np.array_equal(first, a.permutation())
    assert not np.array_equal(first, DistributedSampler(50, 0, 2, 10, seed=1).permutation())
    plain = DistributedSampler(50, 0, 2, 10, shuffle=False)
    plain.set_epoch(3)
    assert np.array_equal(plain.permutation(), np.arange(50))


def test_drop_last_leaves_out_the_short_batch_alone():
    for length, batches in ((20, 2), (25, 2), (29, 2), (30, 3)):
        sampler = DistributedSampler(length, 1, 3, 10, drop_last=True)
        assert len(sampler) == len(list(sampler)) == batches
        assert all(len(batch) == 3 for batch in sampler)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, 2, 2, 4), "rank=2 is not one of 2 ranks"),
        ((10, -1, 2, 4), "rank=-1"),
        ((10, 0, 0, 4), "0 ranks"),
        ((0, 0, 1, 4), "length=0"),
        ((10, 0, 1, 0), "batch_size=0"),
        ((10, 0, 1, 2.5), "batch_size=2.5 is not a whole number"),
        ((3, 0, 1, 4, True, 0, True), "drop_last=True leaves no batch"),
    ],
)
def test_sampler_errors(arguments, message):
    with pytest.raises(OptionError, match=message):
        DistributedSampler(*arguments)


@pytest.mark.parametrize("prefetch", [0, 1, 5])
def test_loader_batches_and_shares(prefetch):
    x, y = np.arange(46).reshape(23, 2).astype("f"), np.arange(23)
    loaders = [Loader(x, y, s, prefetch=prefetch) for s in ranks(23, 5, 4)]
    order = ranks(23, 5, 1)[0].permutation()
    assert [len(loader) for loader in loaders] == [5] * 4
    seen = []
    for batches in zip(*loaders, strict=True):
        assert sum(b.share for b in batches) == pytest.approx(1)
        for bx, by, share, (start, stop, total) in batches:
            assert is_array(bx) and isinstance(bx, xp.ndarray) and bx.dtype == np.float32
            assert len(bx) == len(by) == stop - start and share == (stop - start) / total
            assert np.array_equal(to_host(bx), x[to_host(by)]) and bx.shape[1:] == (2,)
            seen += to_host(by).tolist()
    assert seen == order.tolist()
    # the last batch has 3 samples for 4 ranks
    assert batches[3].share == 0 and batches[3].x.shape == (0, 2) and batches[3].rows == (3, 3, 3)
    loaders[0].set_epoch(1)
    assert not np.array_equal(to_host(next(iter(loaders[0])).y), order[:2])


def test_loader_reads_memory_maps(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(12.0).reshape(6, 2))
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    (batch,) = Loader(x, np.arange(6), DistributedSampler(6, 0, 1, 6))
    assert type(batch.x) is xp.ndarray


def threads():
    return [t for t in threading.enumerate() if t.name == "mpipar prefetch"]


def test_prefetch_runs_ahead_and_ends_with_its_reader():
    taken = []

    class Slow:
        def __len__(self):
            return 20

        def __getitem__(self, rows):
            taken.append(len(rows))
            return np.zeros(len(rows))

    loader = Loader(Slow(), np.zeros(20), DistributedSampler(20, 0, 1, 2), prefetch=2)
    batches = iter(loader)
    next(batches)
    deadline = time.monotonic() + 5
    while len(taken) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(taken) == 4  # one read, two ready, one waits for room
    del batches
    gc.collect()
    while threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not threads()


@pytest.mark.parametrize("prefetch", [0, 2])
def test_loader_errors(prefetch):
    class Broken:
        def __len__(self):
            return 6

        def __getitem__(self, rows):
            raise OSError("disk is gone")

    sampler = DistributedSampler(6, 0, 1, 2)
    with pytest.raises(OSError, match="disk is gone"):
        list(Loader(Broken(), np.zeros(6), sampler, prefetch=prefetch))
    with pytest.raises(DataError, match="x has 5 samples, y 6 and the sampler 6"):
        Loader(np.zeros(5), np.zeros(6), sampler)
    with pytest.raises(OptionError, match="prefetch=-1"):
        Loader(np.zeros(6), np.zeros(6), sampler, prefetch=-1)
