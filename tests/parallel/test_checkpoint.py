"""Checkpoints: a run goes on bit by bit, on any mesh with the same values, and survives what goes wrong."""

import json
import resource
import shutil
import tempfile
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from ranks import ranks, run_python, run_ranks

import mpipar as mp
from mpipar import nn
from mpipar.arrays import asarray, to_host
from mpipar.data import DistributedSampler
from mpipar.errors import CheckpointError
from mpipar.optim import SGD, Adam, AdamW, CosineLR
from mpipar.parallel import DataParallel, Mesh, Pipeline, gpt, mlp, whole_state_dict
from mpipar.parallel import checkpoint_files as files
from mpipar.parallel.agree import gathered, together
from mpipar.parallel.boxes import whole_box
from mpipar.parallel.checkpoint import latest, load, save
from mpipar.parallel.checkpoint_plan import writers
from mpipar.parallel.checkpoint_read import Stored
from mpipar.parallel.weights import export_weights, load_weights, whole_weights
from mpipar.parallel.zero import ZeRO

HERE = Path(__file__).parent
# memory, where there is such a folder: what a kill can break does not depend on the disk
FAST = next((folder for folder in ("/dev/shm",) if Path(folder).is_dir()), None)
DRAW = np.random.default_rng(0)
IDS, LABELS = DRAW.integers(0, 24, (15, 6)), DRAW.integers(0, 24, (15, 6))
GPT = {"vocabulary": 24, "context": 8, "width": 8, "layers": 2, "heads": 4, "dropout": 0.2, "seed": 3}
BATCH = 4  # so an epoch has 4 batches, and the last one 3 samples


@pytest.fixture
def fast_path():
    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        yield Path(folder)


class Run:
    """A training of GPT on a mesh, as a script would have it."""

    def __init__(self, world, axes, zero=0, **config):
        self.mesh = Mesh(world, **axes)
        self.model = gpt(GPT | config, self.mesh)
        dp = self.mesh["dp"]
        if zero:
            self.optimizer = self.replica = ZeRO(self.model, AdamW, dp, zero, lr=1e-2)
        else:
            self.replica = DataParallel(self.model, dp)
            self.optimizer = AdamW(self.model.parameters(), lr=1e-2)
        self.schedule = CosineLR(self.optimizer, 20, warmup=4)
        self.sampler = DistributedSampler(len(IDS), dp.rank, dp.size, BATCH)
        self.step = self.epoch = self.batch = 0

    def load(self, folder):
        self.resumed = load(folder, self.mesh, self.model, self.optimizer, self.schedule)
        self.step, self.epoch, self.batch = self.resumed.step, self.resumed.epoch, self.resumed.batch
        return self

    def save(self, folder, **more):
        position = {"step": self.step, "epoch": self.epoch, "batch": self.batch}
        return save(folder, self.mesh, self.model, self.optimizer, self.schedule, **position, **more)

    def train(self, steps):
        while steps:
            self.sampler.set_epoch(self.epoch)
            batches = islice(enumerate(self.sampler), self.batch, self.batch + steps)
            for number, rows in batches:
                self._update(number, rows)
                steps, self.step, self.batch = steps - 1, self.step + 1, number + 1
            if self.batch == len(self.sampler):
                self.epoch, self.batch = self.epoch + 1, 0
        return self

    def _update(self, number, rows):
        start, stop, total = self.sampler.rows(number)
        self.optimizer.zero_grad()
        nn.share_rows(self.model, (start, stop, total))
        with self.replica.averaging((stop - start) / total):
            self.model.loss(asarray(IDS[rows]), asarray(LABELS[rows])).backward()
        self.optimizer.step()
        self.schedule.step()

    def weights(self):
        return whole_state_dict(self.model, self.mesh["tp"])


@contextmanager
def folder_of_all(world):
    """One empty folder for all ranks, also under mpirun."""
    mine = tempfile.mkdtemp(dir=FAST) if world.rank == 0 else ""
    folder = Path(gathered(world, mine)[0])
    yield folder
    world.barrier()
    if world.rank == 0:
        shutil.rmtree(folder)


def on(axes, function, *args, **more):
    """function(world, …) on virtual ranks of a mesh -> what rank 0 returns."""
    size = int(np.prod(list(axes.values()), dtype=int))
    return mp.virtual.run(lambda world: function(world, *args, **more), size)[0]


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def assert_goes_on_bitwise(world, axes, zero=0):
    """Six steps, over the end of an epoch, against three, a checkpoint, a new program and three more."""
    with folder_of_all(world) as folder:
        through = Run(world, axes, zero).train(6)
        Run(world, axes, zero).train(3).save(folder, extra={"best": 0.1})
        again = Run(world, axes, zero, seed=99).load(folder)
        resumed = again.resumed
        assert (resumed.step, resumed.epoch, resumed.batch, resumed.extra) == (3, 0, 3, {"best": 0.1})
        again.train(3)
        assert (
            (again.step, again.epoch, again.batch)
            == (through.step, through.epoch, through.batch)
            == (6, 1, 2)
        )
        assert again.schedule.last_lr == through.schedule.last_lr
        with again.replica.gathered() if zero else together(world):
            found = again.weights()
        with through.replica.gathered() if zero else together(world):
            assert_equal(found, through.weights())


@ranks(2)
def test_two_replicas_go_on_bitwise(world):
    assert_goes_on_bitwise(world, {"dp": 2})


@pytest.mark.parametrize("axes", [{}, {"tp": 2}, {"dp": 2, "tp": 2}])
def test_a_mesh_goes_on_bitwise(axes):
    on(axes, assert_goes_on_bitwise, axes)


@pytest.mark.parametrize("zero", [1, 2, 3])
def test_pieces_of_zero_go_on_bitwise(zero):
    on({"dp": 3}, assert_goes_on_bitwise, {"dp": 3}, zero)


def test_weights_alone_go_into_pieces_and_not_without_who_has_them(tmp_path):
    serial = nn.MLP([5, 7, 3], seed=4)
    mp.virtual.run(lambda world: save(tmp_path, world, serial, step=1), 1)

    def into_pieces(world):
        model = nn.MLP([5, 7, 3], seed=1)
        zero = ZeRO(model, AdamW, world, stage=3)
        load_weights(tmp_path, world, model, zero)
        with zero.gathered():
            assert_equal(model.state_dict(), serial.state_dict())
        for attempt in (lambda: save(tmp_path, world, model, step=2), lambda: load(tmp_path, world, model)):
            with pytest.raises(CheckpointError, match=r"0\.weight \(7, 5\) lies in pieces .* give the ZeRO"):
                attempt()

    mp.virtual.run(into_pieces, 3)


def all_of(folder):
    """Every tensor whole: the values, and what the optimizer remembers of them."""
    stored = Stored(latest(folder))
    return {name: stored.read(name) for name in stored.tensors}


def test_a_checkpoint_moves_from_mesh_to_mesh_with_equal_values(tmp_path):
    """dp and tp, ZeRO, and back: nothing changes on the way, and each goes on as the serial run does."""
    double = {"dtype": np.float64}
    through = on({}, lambda world: Run(world, {}, **double).train(5).weights())
    on({}, lambda world: Run(world, {}, **double).train(3).save(tmp_path) and None)
    first = all_of(tmp_path)
    assert {"tokens.weight", "tokens.weight/exp_avg", "tokens.weight/exp_avg_sq"} <= first.keys()

    def pass_on(world, axes, zero):
        run = Run(world, axes, zero, **double, seed=99).load(tmp_path)
        run.save(tmp_path)
        run.train(2)
        with run.replica.gathered() if zero else together(world):
            return run.weights()

    for axes, zero in (
        ({"dp": 2, "tp": 2}, 0),
        ({"tp": 4}, 0),
        ({"dp": 3}, 3),
        ({"dp": 2, "tp": 2}, 2),
        ({}, 0),
    ):
        weights = on(axes, pass_on, axes, zero)
        assert_equal(all_of(tmp_path), first)
        for name, value in through.items():
            np.testing.assert_allclose(weights[name], value, rtol=1e-9, atol=1e-12, err_msg=name)


def test_stages_of_a_pipeline_with_tied_weights_move_to_a_serial_program_and_back(tmp_path):
    config = GPT | {"dropout": 0.0, "dtype": np.float64}

    def pipelined(world, resume):
        mesh = Mesh(world, pp=3)
        pipeline = Pipeline(nn.GPT(**config | {"seed": None}), mesh["pp"], "gpipe", micro_batches=2, seed=99)
        optimizer = AdamW(pipeline.parameters(), lr=1e-2)
        if resume:
            load(tmp_path, mesh, pipeline.model, optimizer)
        pipeline.step(asarray(IDS[4:8]), asarray(LABELS[4:8]))
        optimizer.step()
        save(tmp_path, mesh, pipeline.model, optimizer, step=2)

    def serial(world, first, last, resume):
        model = nn.GPT(**config)
        optimizer = AdamW(model.parameters(), lr=1e-2)
        if resume:
            load(tmp_path, world, model, optimizer)
        for at in range(first, last):
            optimizer.zero_grad()
            model.loss(asarray(IDS[4 * at : 4 * at + 4]), asarray(LABELS[4 * at : 4 * at + 4])).backward()
            optimizer.step()
        save(tmp_path, world, model, optimizer, step=last)
        return model.state_dict()

    on({}, serial, 0, 1, False)
    on({"pp": 3}, pipelined, True)
    assert "head.weight" in Stored(latest(tmp_path)).tensors  # the last stage's own copy
    moved = on({}, serial, 2, 3, True)
    shutil.rmtree(tmp_path)
    for name, value in on({}, serial, 0, 3, False).items():
        np.testing.assert_allclose(moved[name], value, rtol=1e-9, atol=1e-12, err_msg=name)


def test_weights_of_several_groups_frozen_and_never_updated_ones_come_back(tmp_path):
    def parts(momentum, seed):
        model = nn.MLP([4, 6, 6, 3], seed=seed)
        first, _, middle, _, last = model
        first.weight.requires_grad = False
        groups = [{"params": [last.weight, last.bias], "lr": 0.5}, {"params": [first.bias, middle.weight]}]
        return model, first.bias, SGD(groups, lr=0.1, momentum=momentum)

    def there_and_back(world):
        model, bias, optimizer = parts(0.9, 0)
        bias.grad = bias.data * 0 + 2
        optimizer.step()
        save(tmp_path, world, model, optimizer, step=1)
        again, _, other = parts(0.0, 1)
        load(tmp_path, world, again, other)
        assert_equal(again.state_dict(), model.state_dict())
        assert [(g["lr"], g["momentum"]) for g in other.param_groups] == [(0.5, 0.9), (0.1, 0.9)]
        found = [other.state_dict()["state"], optimizer.state_dict()["state"]]
        assert [list(state) for state in found] == [[2], [2]]
        np.testing.assert_array_equal(found[0][2]["momentum_buffer"], np.full(6, 2.0))

    mp.virtual.run(there_and_back, 1)


def test_what_replicas_have_is_written_once_and_by_all_about_as_much(tmp_path):
    def saved(world):
        model = nn.MLP([64, 64, 64, 64, 64, 64], seed=0)
        save(tmp_path, world, model, step=7)
        return model.num_parameters() * 4

    numbers = mp.virtual.run(saved, 4)[0]
    sizes = [path.stat().st_size for path in (tmp_path / "step-000007").glob("rank-*")]
    assert len(sizes) == 4
    assert numbers < sum(sizes) < 1.1 * numbers
    assert max(sizes) < 2 * numbers / 5 + 3000  # five equal weights on four ranks


def test_the_writers_plan_balances_by_size_and_notices_what_nobody_has():
    def told(*boxes):
        return {
            "step": 1,
            "held": [("w", (4, 2), box, "float32", 8 * (box[0][1] - box[0][0])) for box in boxes],
        }

    upper, lower, row = ((0, 2), (0, 2)), ((2, 4), (0, 2)), ((3, 4), (0, 2))
    assert writers([told(upper, lower), told(upper, lower)]) == {("w", upper): 0, ("w", lower): 1}
    assert writers([told(lower), told(upper, lower)]) == {("w", upper): 1, ("w", lower): 0}
    with pytest.raises(CheckpointError, match="have 6 numbers of w, which has 8; save over all ranks"):
        writers([told(upper), told(row)])
    with pytest.raises(CheckpointError, match=r"at steps \[1, 2\]; let all save"):
        writers([told(upper), told(upper) | {"step": 2}])


def small(seed=0):
    model = nn.MLP([3, 4, 2], seed=seed)
    optimizer = Adam(model.parameters())
    for p in model.parameters():
        p.grad = p.data * 0 + 1
    optimizer.step()
    return model, optimizer


def save_small(folder, step=1, seed=0, **more):
    mp.virtual.run(lambda world: save(folder, world, *small(seed), step=step, **more), 1)


def test_the_last_checkpoints_are_kept_and_files_of_others_too(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert latest(tmp_path) is latest(tmp_path / "nowhere") is None
    for step in (1, 2, 30, 1000000):
        save_small(tmp_path, step)
    assert {p.name for p in tmp_path.iterdir()} == {"notes.txt", "step-000030", "step-1000000"}
    assert latest(tmp_path).name == "step-1000000"
    load_step = mp.virtual.run(lambda world: load(tmp_path / "step-000030", world, *small()).step, 1)
    assert load_step == [30]
    with pytest.raises(CheckpointError, match="has a checkpoint of step 1000000, which would be resumed"):
        save_small(tmp_path, 31)


class Killed(Exception):
    """The process ends here."""


CALLS = [
    (files.os, "fsync"), (files.os, "rename"), (files.shutil, "rmtree"), (files, "save_file"),
    (Path, "mkdir"), (Path, "write_text"), (Path, "unlink"), (Path, "touch"), (Path, "chmod"),
]  # fmt: skip


def fail_at(monkeypatch, number, error):
    """The `number`-th call that changes the disk raises instead.   returns: the names of all calls"""
    calls = []

    def failing(name, call):
        def instead(*args, **more):
            calls.append(name)
            if len(calls) == number + 1:
                raise error
            return call(*args, **more)

        return instead

    for place, name in CALLS:
        monkeypatch.setattr(place, name, failing(name, getattr(place, name)))
    return calls


@pytest.mark.parametrize("error", [Killed(), OSError(28, "No space left on device")])
def test_where_any_call_fails_the_last_or_the_new_checkpoint_is_there(fast_path, monkeypatch, error):
    """While a step is saved again in place of itself, with an older one to remove."""
    states = {seed: small(seed)[0].state_dict() for seed in (2, 3)}
    number, found, calls = 0, [], [""]
    while number <= len(calls):
        folder = fast_path / str(number)
        save_small(folder, 1, seed=1)
        save_small(folder, 2, seed=2)
        with monkeypatch.context() as patch:
            calls = fail_at(patch, number, error)
            with suppress(Killed, CheckpointError):
                save_small(folder, 2, seed=3, keep=1)
        weights = whole_weights(folder)
        same = [s for s in states if all(np.array_equal(weights[k], v) for k, v in states[s].items())]
        found += same
        assert len(same) == 1
        assert isinstance(error, Killed) or not list(folder.glob("*.writing"))
        save_small(folder, 3, keep=1)
        assert [p.name for p in folder.iterdir()] == ["step-000003"]
        number += 1
    assert number > 12
    assert set(found) == {2, 3}
    assert isinstance(error, OSError) or found == sorted(found)  # from some call on it is the new one


def test_killed_at_fifty_moments_the_last_checkpoint_is_there(fast_path):
    run = run_python([str(HERE / "killed_saver.py"), str(fast_path)], limit=50)
    assert run.returncode == 0, run.stderr
    assert "killed while writing" in run.stdout


KILLED_RANK = """
import os, signal, sys
import mpipar as mp
from mpipar.parallel import checkpoint

world, write = mp.world(), checkpoint.write_arrays
model = mp.nn.MLP([16, 16, 16, 16], seed=0)

def write_half(file, arrays, metadata):
    if world.rank == 1 and "000003" in str(file):
        file.write_bytes(bytes(100))
        os.kill(os.getpid(), signal.SIGKILL)
    write(file, arrays, metadata)

checkpoint.write_arrays = write_half
for step in (1, 2, 3):
    checkpoint.save(sys.argv[1], world, model, step=step)
"""


def test_a_rank_that_is_killed_while_writing_leaves_the_checkpoint_before(tmp_path):
    (tmp_path / "save.py").write_text(KILLED_RANK)
    folder = tmp_path / "run"
    run = run_ranks(2, [str(tmp_path / "save.py"), str(folder)], limit=30)
    assert run.returncode not in (0, 124), run.stderr
    assert latest(folder).name == "step-000002"
    assert_equal(whole_weights(folder), nn.MLP([16, 16, 16, 16], seed=0).state_dict())
    save_small(folder, 4)
    assert {p.name for p in folder.iterdir()} == {"step-000002", "step-000004"}


@contextmanager
def files_of_at_most(size):
    """A full disk, as this process sees it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@ranks(1, 3, virtual=(1,))
def test_a_disk_that_is_full_on_one_rank_is_the_same_sentence_on_all(world):
    model, last = nn.MLP([64, 64, 64, 64], seed=0), world.size - 1
    with folder_of_all(world) as folder:
        save(folder, world, model, step=1)
        with pytest.raises(CheckpointError) as told, files_of_at_most(5000 if world.rank == last else 10**9):
            save(folder, world, model, step=2)
        said = gathered(world, str(told.value))
        assert len(set(said)) == 1
        assert "File too large; make room, or choose another folder" in said[0]
        assert f"step-000002.writing/rank-000{last}" in said[0]
        assert said[0].startswith(f"rank {last}: cannot write " if last else "cannot write ")
        assert [p.name for p in folder.iterdir()] == ["step-000001"]
        save(folder, world, model, step=2)
        assert load(folder, world, model).step == 2


def damaged(folder):
    """A checkpoint's manifest and first file, to be changed."""
    save_small(folder)
    return folder / "step-000001" / "checkpoint.json", folder / "step-000001" / "rank-0000.safetensors"


def rewrite(manifest, **changes):
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | changes))


def refused(path, model=None, optimizer=None, schedule=None):
    """The sentence with which two ranks refuse to load; the model is as before."""

    def attempt(world):
        mine = small(5)[0] if model is None else model()
        before = mine.state_dict()
        with pytest.raises(CheckpointError) as told:
            load(path, world, mine, optimizer and optimizer(mine), schedule and schedule(mine))
        assert_equal(mine.state_dict(), before)
        return str(told.value)

    first, second = mp.virtual.run(attempt, 2)
    assert first == second
    assert first.startswith("rank 0: ")
    assert "\n" not in first
    return first


def test_what_is_no_checkpoint_is_refused(tmp_path):
    manifest, file = damaged(tmp_path)
    assert "has no checkpoint (no folder step-…" in refused(tmp_path / "nowhere")
    file.write_bytes(file.read_bytes()[:-50])
    assert "it is cut off or another file; copy it again" in refused(tmp_path)
    file.unlink()
    assert "rank-0000.safetensors: No such file or directory" in refused(tmp_path)
    rewrite(manifest, version=2)
    assert "has format 2, and this mpipar reads up to 1; update mpipar" in refused(tmp_path)
    for foreign in (
        "",
        "[]",
        '{"format": "mpipar checkpoint", "version": 1}',
        '{"format": "pt"}',
        "\xff",
        '{"format": "mpipar checkpoint"}',
    ):
        manifest.write_text(foreign, encoding="latin-1")
        assert "checkpoint.json was not written by mpipar" in refused(tmp_path)
    manifest.unlink()
    assert "has no checkpoint" in refused(tmp_path)


def test_numbers_that_have_changed_are_noticed(tmp_path):
    _, file = damaged(tmp_path)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert "is damaged: the numbers of" in refused(tmp_path, optimizer=lambda m: Adam(m.parameters()))
    file.write_bytes(bytes(len(data)))
    assert "cannot read" in refused(tmp_path)


def test_another_model_is_refused_with_the_first_difference(tmp_path):
    save_small(tmp_path)
    deeper = refused(tmp_path, lambda: nn.MLP([3, 4, 2, 2], seed=0))
    assert "of another model: it has no 4.weight (2, 2); build the model" in deeper
    wider = refused(tmp_path, lambda: nn.MLP([3, 5, 2], seed=0))
    assert "of another model: 0.weight is (4, 3) there and (5, 3) here; build" in wider
    smaller = refused(tmp_path, lambda: nn.MLP([3, 4], seed=0))
    assert "of another model: it has 2.weight (2, 4), which this one has not; build" in smaller
    other = refused(tmp_path, lambda: nn.Linear(3, 4, seed=0))
    assert "it has no weight (4, 3), but 0.weight (4, 3); build" in other


def test_another_optimizer_or_schedule_is_refused(tmp_path):
    save_small(tmp_path)
    sgd = refused(tmp_path, optimizer=lambda m: SGD(m.parameters()))
    assert "of another optimizer: Adam with 1 groups of parameters, and this is SGD with 1; make" in sgd
    groups = refused(tmp_path, optimizer=lambda m: Adam([{"params": [p]} for p in m.parameters()]))
    assert "and this is Adam with 4; make" in groups
    fewer = refused(tmp_path, optimizer=lambda m: Adam(list(m.parameters())[:3]))
    assert "of another optimizer: it updated 2.bias, too; give" in fewer
    schedule = refused(tmp_path, schedule=lambda m: CosineLR(Adam(m.parameters()), 9))
    assert "was saved without a schedule, and this schedule has 1 groups" in schedule
    foreign = refused(tmp_path, optimizer=lambda m: Adam(small()[0].parameters()))
    assert "the optimizer has" in foreign
    mp.virtual.run(lambda world: save(tmp_path / "two", world, small()[0], step=1), 1)
    without = refused(tmp_path / "two", optimizer=lambda m: Adam(m.parameters()))
    assert "was saved without an optimizer; load it without" in without

    def part_of_it(world):
        model = small()[0]
        save(tmp_path / "three", world, model, Adam(list(model.parameters())[:3]), step=1)

    mp.virtual.run(part_of_it, 1)
    more = refused(tmp_path / "three", optimizer=lambda m: Adam(m.parameters()))
    assert "of another optimizer: 2.bias was not updated; give" in more


def test_what_cannot_be_saved_is_one_sentence_and_changes_nothing(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(
        CheckpointError, match=r"cannot write .*file: File exists; it is a file; choose a folder"
    ):
        save_small(tmp_path / "file")
    with pytest.raises(CheckpointError, match=r"cannot write .*: Not a directory; it is a file"):
        save_small(tmp_path / "file" / "inside")
    with pytest.raises(CheckpointError, match="set is not JSON serializable"):
        save_small(tmp_path / "run", extra={"seen": {1}})
    with pytest.raises(CheckpointError, match="keep=0"):
        save_small(tmp_path / "run", keep=0)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_without_permission_is_one_sentence(tmp_path, monkeypatch):
    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)  # root may write everywhere
    with pytest.raises(CheckpointError, match=r"run: Permission denied; choose a folder that you may write"):
        save_small(tmp_path / "run")


@ranks(2)
def test_a_rank_that_fails_alone_is_waited_for_by_all(world):
    undone = []
    for culprit in (0, 1):
        with (
            pytest.raises(CheckpointError, match=f"rank {culprit}: no"),
            together(world, undo=lambda: undone.append(1)),
        ):
            if world.rank == culprit:
                raise CheckpointError("no")
    assert len(undone) == (2 if world.rank == 0 else 0)
    assert gathered(world, {"rank": world.rank}) == [{"rank": 0}, {"rank": 1}]


def test_weights_go_to_pytorch_and_come_back_on_a_mesh(tmp_path):
    torch = pytest.importorskip("torch")
    st = pytest.importorskip("safetensors.torch")
    linear = torch.nn.Linear
    twin = torch.nn.Sequential(linear(8, 12), torch.nn.ReLU(), linear(12, 12), torch.nn.ReLU(), linear(12, 4))
    st.save_file(twin.state_dict(), tmp_path / "twin.safetensors")
    x = torch.randn(5, 8)

    def there_and_back(world):
        mesh = Mesh(world, tp=2)
        model = mlp([8, 12, 12, 4], mesh, seed=1)
        load_weights(tmp_path / "twin.safetensors", mesh, model)
        np.testing.assert_allclose(
            to_host(model(mp.Tensor(asarray(x.numpy()))).data), twin(x).detach().numpy(), rtol=1e-5, atol=1e-6
        )
        save(tmp_path / "run", mesh, model, step=1)

    mp.virtual.run(there_and_back, 2)
    export_weights(tmp_path / "run", tmp_path / "back.safetensors")
    back = st.load_file(tmp_path / "back.safetensors")
    assert all(torch.equal(back[name], value) for name, value in twin.state_dict().items())
    twin.load_state_dict({name: torch.from_numpy(v) for name, v in whole_weights(tmp_path / "run").items()})
    assert {p.name for p in tmp_path.iterdir()} == {"twin.safetensors", "run", "back.safetensors"}


def test_tied_weights_have_both_names_outside_and_one_place_inside(tmp_path):
    model = nn.GPT(**GPT)
    mp.virtual.run(lambda world: save(tmp_path, world, model, step=1), 1)
    assert_equal(whole_weights(tmp_path), model.state_dict())
    assert "head.weight" not in Stored(latest(tmp_path)).tensors
    export_weights(tmp_path, tmp_path / "tied.safetensors")
    untied = nn.GPT(**GPT | {"tied": False, "seed": 8})
    again = nn.GPT(**GPT | {"seed": 9})

    def check(world):
        load_weights(tmp_path / "tied.safetensors", world, untied)
        load_weights(tmp_path / "tied.safetensors", world, again)
        assert_equal(again.state_dict(), model.state_dict())
        assert_equal(untied.state_dict(), model.state_dict())
        untied.head.weight.data[0] = 7
        save(tmp_path, world, untied, step=2)
        with pytest.raises(
            CheckpointError, match=r"tokens\.weight and head\.weight are one parameter of this"
        ):
            load(tmp_path, world, again)

    mp.virtual.run(check, 1)


def test_any_box_is_read_from_what_other_boxes_were_written(tmp_path):
    numbers = np.arange(60, dtype=np.float32).reshape(6, 10)
    arrays = {"a": numbers[:2].copy(), "b": numbers[2:, :5].copy(), "c": numbers[2:, 5:].copy()}
    files.write_arrays(tmp_path / "x.safetensors", arrays, {})
    stored = Stored(tmp_path / "x.safetensors")
    boxes = {"a": ((0, 2), (0, 10)), "b": ((2, 6), (0, 5)), "c": ((2, 6), (5, 10))}
    parts = [["x.safetensors", name, box, None] for name, box in boxes.items()]
    stored.tensors["w"] = {"shape": [6, 10], "parts": parts}
    for box in (whole_box((6, 10)), ((1, 3), (4, 6)), ((0, 1), (0, 10)), ((3, 5), (7, 8))):
        rows, columns = (slice(*r) for r in box)
        np.testing.assert_array_equal(stored.read("w", box), numbers[rows, columns])
