"""Options -> training: what is refused, with what would fit; and that training does what it should."""

from dataclasses import replace

import numpy as np
import pytest

import mpipar as mp
from mpipar.arrays import to_host
from mpipar.data import DistributedSampler
from mpipar.errors import LayoutError, MpiparError, OptionError
from mpipar.parallel.build import build_schedule
from mpipar.parallel.job import Job, checked, length_of
from mpipar.parallel.options import Options
from mpipar.parallel.saving import Saving, check_saving, resume_job, save_job
from mpipar.parallel.weights import whole_weights

GPT = {"model": "gpt", "width": 16, "heads": 4, "layers": 1, "context": 16, "batch": 8}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"model": "rnn"}, "--model rnn is unknown; choose one of mlp, cnn, gpt"),
        ({"optimizer": "lion"}, "--optimizer lion is unknown; choose one of sgd, momentum, "),
        ({"algorithm": "magic"}, "--algorithm magic is unknown"),
        ({"model": "gpt", "mesh": "tp=3"}, "share 4 heads or 256 hidden numbers; tp can be 1, 2 or 4 here"),
        ({"mesh": "tp=3"}, "tp=3: the ranks cannot share 128 numbers of width 128 or 64 "),
        ({"mesh": "tp=3", "widths": "9"}, None),
        ({"mesh": "tp=3", "widths": "9,64,6"}, None),
        ({"mesh": "tp=3", "widths": "9,64"}, "cannot share 64 numbers of width 64; tp can be 1 here"),
        ({"mesh": "tp=2", "widths": ""}, None),
        ({"widths": "9,x"}, "--widths '9,x' are no widths; write for example 128,64"),
        ({"model": "cnn", "mesh": "tp=2"}, "cnn has no tensor-parallel layers; give tp=1 and a larger dp"),
        ({"mesh": "dp=4", "batch": 3}, "--batch 3 is not a sample a rank of dp=4; give --batch 4 or more"),
        ({"mesh": "dp=4", "batch": 7}, None),
        ({"batch": 1438}, "--batch 1438: there are 1437 samples; give 1437 or fewer"),
        ({"micro_batches": 9, "mesh": "dp=8"}, "of a batch of 64, a rank of dp=8 has 8; give 8 or fewer"),
        ({"mesh": "cp=2"}, "--mesh cp=2: train offers the axes dp, tp and pp; leave cp out"),
        ({"mesh": "pp=4"}, "3 layers cannot fill 4 stages; use at most 3 stages, or more layers"),
        ({"mesh": "dp=2,pp=3"}, "--batch 64: dp=2 ranks with 3 micro-batches each need a multiple of 6; "),
        ({"mesh": "dp=2,pp=3"}, "give --batch 60 or 66"),
        ({"mesh": "dp=2,pp=3", "batch": 66}, None),
        ({"mesh": "pp=2", "batch": 1438}, "there are 1437 samples"),
        ({"mesh": "pp=2", "schedule": "1f2b"}, "there is no schedule and no file '1f2b'; use naive, gpipe"),
        ({"mesh": "pp=2", "virtual_stages": 2}, "1f1b has one stage a rank, not 2; use interleaved"),
        ({"mesh": "pp=2", "virtual_stages": 0}, "--virtual-stages 0 is too few"),
        ({"mesh": "pp=2", "partition": "2,2"}, "sizes [2, 2] are 4 layers, but the model has 3"),
        ({"mesh": "pp=2", "partition": "2,1"}, None),
        ({"mesh": "pp=2", "partition": "time"}, None),
        ({"mesh": "pp=2", "partition": "size"}, "--partition size is unknown; choose one of count, param"),
        ({"mesh": "pp=2", "zero": 3}, "--mesh pp=2 has stages, which keep theirs whole; give --zero 2"),
        ({"mesh": "pp=2", "zero": 2}, None),
        ({"zero": 4}, "--zero 4 is no stage; choose 0, 1, 2 or 3"),
        ({"zero": 1, "strategy": "flat"}, "--zero 1 has its own way of averaging; leave --strategy flat"),
        ({"recompute": True}, "--recompute is for pipelines; give --mesh pp=2 or more, or leave it out"),
        ({"schedule": "gpipe", "mesh": "dp=2"}, "--schedule is for pipelines"),
        ({"mesh": "dp:2"}, "'dp:2' is no axis with its size; write for example dp=2,tp=2"),
        ({"mesh": "dp=2", "order": "dp,dp"}, "order 'dp,dp' does not name each axis once"),
        (
            {"sequence": True, "mesh": "tp=2"},
            "--sequence shares gpt's places among tp ranks; give --model gpt",
        ),
        ({"model": "gpt", "sequence": True}, "and a tp above 1"),
        (
            {**GPT, "sequence": True, "mesh": "tp=4", "context": 18},
            "18 places of the context; tp can be 1 or 2",
        ),
        ({"model": "gpt", "heads": 3}, "--heads 3 cannot share --width 64; 1, 2, 4, 8, 16, 32 or 64 can"),
        ({"model": "gpt", "data": "digits"}, "--data digits are images; give --model mlp or cnn"),
        ({"data": "text"}, "--model mlp is for images: give --data digits, mnist or a .npz file"),
        ({"data": "no.npz"}, "--data no.npz cannot be read (there is no such file); give digits"),
        ({"model": "gpt", "data": "no.txt"}, "no.txt cannot be read (No such file or directory)"),
        ({"lr": -1.0}, "--lr -1.0 is no number from 0 on"),
        ({"lr": float("nan")}, "--lr nan is no number from 0 on"),
        ({"epochs": 0}, "--epochs 0 is too few; give 1 or more"),
        ({"dropout": 0.5}, "--dropout 0.5 is for gpt; leave it out with --model mlp, or give --model gpt"),
        ({"dropout": 1.0, "model": "gpt"}, "--dropout 1.0 is no share from 0 up to below 1"),
        ({"model": "gpt", "widths": "9"}, "--widths 9 is for mlp; leave it out with --model gpt, or give"),
        ({"model": "cnn", "widths": "9"}, "--widths 9 is for mlp"),
        ({"layers": 3}, "--layers 3 is for gpt; leave it out with --model mlp"),
        ({"width": 32}, "--width 32 is for gpt"),
        ({"model": "cnn", "heads": 2}, "--heads 2 is for gpt"),
        ({"context": 32}, "--context 32 is for gpt"),
        ({"steps": 5, "warm_up": 5}, "--warm-up 5 leaves none of 5 steps; give 4 or fewer"),
        ({"strategy": "overlap", "algorithm": "naive"}, "--strategy overlap starts rings"),
    ],
)
def test_what_cannot_be_met_is_refused_with_what_would_fit(options, sentence):
    if sentence is None:
        checked(Options(**options))
        return
    with pytest.raises(MpiparError) as error:
        checked(Options(**options))
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("rank 0: F0 F1 B0\nrank 1: F0 B0 F1 B1", "rank 0 never runs 0B1; add it"),
        ("rank 0: B0 F0\nrank 1: F0 B0", "rank 0 runs 0B0 before 0F0, which it needs"),
        ("rank 0: F0 B0 F1 B1\nrank 1: F1 B1 F0 B0", "deadlock: rank 0 waits at 0B0 for 1B0"),
        ("rank 0: F0 X0", "line 1, column 12: 'X0' is no action"),
        ("rank 0: F0 B0", "is for 1 ranks, but the pipeline has 2"),
    ],
)
def test_a_table_that_cannot_be_carried_out_is_refused(table, sentence, tmp_path):
    (tmp_path / "mine.txt").write_text(table)
    with pytest.raises(MpiparError) as error:
        checked(Options(mesh="pp=2", schedule=str(tmp_path / "mine.txt")))
    assert sentence in str(error.value)


def test_what_is_accepted_can_be_built_and_what_is_refused_cannot():
    """The checks against the layers' own, for every width and tp of a small set."""
    for tp in (2, 3):
        for widths in ("", "6", "6,5", "5,6", "6,5,6", "6,5,4", "5", "4,6,6,1"):
            options = Options(mesh=f"tp={tp}", widths=widths)
            outcomes = []
            for attempt in (lambda o=options: checked(o), lambda o=options: built_without_checks(o)):
                try:
                    attempt()
                    outcomes.append("fits")
                except MpiparError:
                    outcomes.append("refused")
            assert outcomes[0] == outcomes[1], (tp, widths, outcomes)


def built_without_checks(options):
    samples = checked(replace(options, mesh=""))
    mp.virtual.run(lambda world: Job(options, world, samples), options.ranks)


def test_the_words_give_the_options_back():
    options = Options(**GPT, mesh="dp=2,tp=2", sequence=True, lr=0.5)
    words = options.words()
    assert words[:2] == ["--model", "gpt"] and "--sequence" in words and "--seed" not in words
    assert words[words.index("--lr") + 1] == "0.5"
    assert Options().words() == []


def test_how_many_steps():
    for given, steps in (({}, 230), ({"epochs": 2}, 46), ({"steps": 7}, 7), ({"epochs": 1, "steps": 99}, 23)):
        assert length_of(Options(**given), 1437) == steps
    assert length_of(Options(mesh="pp=2", epochs=2), 1437) == 44  # without the 29 samples of a short batch
    assert length_of(Options(model="gpt"), 5000) == 200
    assert length_of(Options(model="gpt", epochs=1), 5000) == 79


@pytest.mark.parametrize(
    ("given", "rates"),
    [
        ({}, [1, 1, 1, 1, 1, 1, 1, 1]),
        ({"warm_up": 4}, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
        ({"schedule_lr": "step"}, [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]),
        ({"schedule_lr": "cosine"}, [(1 + np.cos(np.pi * t / 8)) / 2 for t in range(8)]),
    ],
)
def test_schedules(given, rates):
    model = mp.nn.MLP([2, 2], seed=0)
    optimizer = mp.optim.SGD(model.parameters(), lr=1.0)
    schedule, found = build_schedule(Options(**given), optimizer, 8), []
    for _ in range(8):
        found.append(optimizer.param_groups[0]["lr"])
        if schedule is not None:
            schedule.step()
    np.testing.assert_allclose(found, rates, rtol=1e-12)


def test_a_file_of_samples(tmp_path):
    draw, path = np.random.default_rng(0), tmp_path / "mine.npz"
    np.savez(path, x=draw.standard_normal((50, 8, 8)), y=draw.integers(0, 3, 50))
    flat, images = (checked(Options(model, str(path), batch=8)) for model in ("mlp", "cnn"))
    assert (
        flat.x.shape == (40, 64) and images.x.shape == (40, 1, 8, 8) and images.test_x.shape == (10, 1, 8, 8)
    )
    assert flat.classes == 3 and flat.x.dtype == np.float32
    for wrong in ({"y": draw.standard_normal(50)}, {"y": draw.integers(0, 3, 49)}, {"z": np.zeros(3)}):
        np.savez(path, **{"x": draw.standard_normal((50, 6)), **wrong})
        with pytest.raises(MpiparError, match=r"mine\.npz"):
            checked(Options(data=str(path)))
    np.savez(path, x=draw.standard_normal((50, 6)), y=draw.integers(0, 3, 50))
    with pytest.raises(MpiparError, match="are no images; give"):
        checked(Options("cnn", str(path)))


HOLE = np.where(np.arange(300).reshape(50, 6) == 13, np.nan, 1.0)  # in sample 2


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"x": np.full((50, 6), "a")}, "x (50, 6) <U1; give real numbers, at least one a sample"),
        ({"x": np.ones((50, 6), complex)}, "x (50, 6) complex128; give real numbers"),
        ({"x": np.ones((50, 0))}, "x (50, 0) float64; give real numbers, at least one a sample"),
        ({"x": np.full((50, 6), None)}, "(it is no archive of arrays of numbers); give digits"),
        ({"x": HOLE}, "sample 2 of x is not finite in float32 (1 of 50 are not); leave"),
        ({"x": np.full((50, 6), 1e300)}, "sample 0 of x is not finite in float32 (50 of 50 are not)"),
        ({"y": np.arange(50) * 200_000}, "y is up to 9800000, more classes than its 50 samples; number"),
        ({"y": np.arange(50)}, None),
        ({"x": np.ones((2, 6)), "y": np.arange(2)}, "--batch 8: there is 1 sample; give 1"),
    ],
)
def test_samples_that_cannot_be_learned_are_refused(given, sentence, tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, **{"x": np.ones((50, 6)), "y": np.zeros(50, int), **given})
    if sentence is None:
        checked(Options(data=str(path), batch=8))
        return
    with pytest.raises(MpiparError) as error:
        checked(Options(data=str(path), batch=8))
    assert sentence in str(error.value)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 cut off"])
def test_a_file_that_is_no_archive_is_said_in_our_words(content, tmp_path):
    path = tmp_path / "m.txt"
    path.write_bytes(content)
    with pytest.raises(MpiparError, match=r"m.txt cannot be read \(it is no archive of arrays of numbers\)"):
        checked(Options(data=str(path)))


def test_a_text_of_ones_own(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("hello world " * 40)
    samples = checked(Options(**GPT | {"data": str(path)}))
    assert samples.classes == 24 and samples.x.shape == (26, 16)  # 432 characters, 8 words rounded up
    with pytest.raises(MpiparError, match="kept for testing has 48; give --context 47 or less"):
        checked(Options(**GPT | {"data": str(path), "context": 48}))


def trained(options, size):
    """(parameters by name, (what, value) of the test) after all steps, of all ranks."""

    def program(world):
        job = Job(options, world)
        for batch in job.batches():
            job.training.step(batch)
        job.training.verify()
        with job.training.gathered():
            return mp.parallel.whole_state_dict(job.training.model, job.mesh["tp"]), job.test()

    of_ranks = mp.virtual.run(program, size)
    assert len({tested for _, tested in of_ranks}) == 1
    return {name: value for state, _ in of_ranks for name, value in state.items()}, of_ranks[0][1]


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adagrad", "adam", "adamw"])
def test_the_layout_and_the_number_of_micro_batches_change_nothing(optimizer):
    """Dropout, clipping, a schedule, a last batch that is shorter: 4 ranks end where one does."""
    options = Options(
        **GPT,
        optimizer=optimizer,
        dropout=0.2,
        clip=0.1,
        schedule_lr="cosine",
        warm_up=2,
        steps=5,
        dtype="float64",
    )
    alone, tested = trained(options, 1)
    several = replace(options, mesh="dp=2,tp=2", sequence=True, micro_batches=3, strategy="overlap")
    state, also_tested = trained(several, 4)
    assert tested[0] == "test loss" and also_tested[1] == pytest.approx(tested[1], rel=1e-9)
    for name, value in alone.items():
        np.testing.assert_allclose(state[name], value, rtol=1e-6, atol=1e-10, err_msg=name)


@pytest.mark.parametrize(
    ("optimizer", "layout"),
    [
        ("adamw", {"mesh": "dp=2,tp=2,pp=2", "micro_batches": 4, "zero": 1, "sequence": True}),
        ("momentum", {"mesh": "dp=3,pp=2", "schedule": "zb-h1", "micro_batches": 2, "zero": 2}),
        ("adam", {"mesh": "dp=2", "micro_batches": 3, "zero": 3}),
    ],
)
def test_stages_and_pieces_change_nothing(optimizer, layout):
    several = Options(**GPT | {"batch": 24}, optimizer=optimizer, dropout=0.2, clip=0.1, steps=3, **layout)
    several = replace(several, dtype="float64")
    state, tested = trained(several, several.ranks)
    common = {"mesh": "", "micro_batches": 1, "zero": 0, "sequence": False, "schedule": "1f1b"}
    alone, also_tested = trained(replace(several, **common), 1)
    assert tested[1] == pytest.approx(also_tested[1], rel=1e-9)
    assert set(state) == set(alone)
    for name, value in alone.items():
        np.testing.assert_allclose(state[name], value, rtol=1e-6, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("zero", [0, 1, 2])
def test_the_copies_of_tied_weights_stay_bitwise_equal(zero):
    """With three dp ranks the order of sums matters: both stages have to cut the matrix alike."""
    options = Options(**GPT | {"batch": 18}, mesh="dp=3,pp=2", zero=zero, steps=4, clip=0.1)
    state, _ = trained(options, 6)
    assert np.array_equal(state["tokens.weight"], state["head.weight"])


def saved_after(folder, *runs):
    """Run after run into the same folder -> the weights that the last one has saved."""
    for options, resume in runs:
        saving = Saving(str(folder), resume=resume, keep=1)

        def program(world, options=options, saving=saving):
            job = Job(options, world)
            if saving.resume:
                resume_job(job, saving)
            for batch in job.batches():
                job.training.step(batch)
            save_job(job, saving)

        check_saving(saving, options, checked(options))
        mp.virtual.run(program, options.ranks)
    return whole_weights(folder)


@pytest.mark.parametrize(
    "layout",
    [
        {"mesh": "dp=2,tp=2,pp=2", "micro_batches": 4, "zero": 1, "warm_up": 2},
        {"mesh": "dp=3,pp=2", "batch": 12, "micro_batches": 2, "zero": 2, "optimizer": "momentum"},
        {"mesh": "dp=2", "zero": 3, "clip": 0.1},
        {"mesh": "dp=2,tp=2", "strategy": "overlap", "micro_batches": 2},
    ],
)
def test_a_run_that_was_stopped_goes_on_bit_by_bit(layout, tmp_path):
    """Dropout, optimizer, schedule, the position in the data: six steps are more than an epoch."""
    path = tmp_path / "short.txt"
    path.write_text("to be, or not to be, that is the question: " * 14)
    options = Options(**GPT | {"data": str(path), "batch": 8, "dropout": 0.1, "steps": 6} | layout)
    whole = saved_after(tmp_path / "whole", (options, False))
    parts = saved_after(tmp_path / "parts", (replace(options, steps=3), False), (options, True))
    assert whole.keys() == parts.keys()
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)


def test_a_run_goes_on_on_another_mesh(tmp_path):
    """Adam's state of a pipeline with ZeRO comes back on a single rank: as if one had done it all."""
    options = Options(**GPT | {"dropout": 0.1, "steps": 4, "dtype": "float64", "batch": 8})
    layout = replace(options, mesh="dp=2,tp=2,pp=2", zero=1, steps=2)
    found = saved_after(tmp_path / "parts", (layout, False), (replace(options, mesh="dp=1"), True))
    alone = saved_after(tmp_path / "whole", (replace(options, mesh="dp=1"), False))
    for name, value in alone.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, atol=1e-10, err_msg=name)


def test_the_position_in_the_data_moves_between_layouts(tmp_path):
    """33 samples: an epoch of a pipeline has 4 batches of 8, of a single rank a fifth one of 1."""
    (tmp_path / "short.txt").write_text("to be, or not to be, that is the question: " * 14)
    options = Options(**GPT | {"data": str(tmp_path / "short.txt"), "steps": 5, "mesh": "pp=2"})
    saved_after(tmp_path / "runs", (options, False))
    samples = checked(options)
    assert len(samples.y) == 33

    def program(world):
        job = Job(replace(options, mesh="dp=1", steps=10), world)
        resume_job(job, Saving(str(tmp_path / "runs")))
        return job.position, [to_host(batch.x) for batch in job.batches()]

    ((position, found),) = mp.virtual.run(program, 1)
    rows = [rows for epoch in (1, 2) for rows in DistributedSampler(33, 0, 1, 8, epoch=epoch)]
    assert position == (1, 1) and len(found) == 5
    assert all(np.array_equal(x, samples.x[of]) for x, of in zip(found, rows[1:6], strict=True))


@pytest.mark.parametrize(
    ("saving", "options", "sentence"),
    [
        ({"keep": 0}, {}, "--keep 0 is too few; give 1 or more"),
        ({"checkpoint_every": 0}, {}, "--checkpoint-every 0 is too few"),
        ({"checkpoint": None, "keep": 3}, {}, "--keep is for checkpoints; give --checkpoint a folder, too"),
        ({"checkpoint": None, "resume": True}, {}, "--resume goes on from a checkpoint; give --checkpoint"),
        ({}, {}, "has step-000002 of an earlier run; give --resume to go on from it, or another folder"),
        ({"resume": True}, {"steps": 2}, "has 2 steps, and the training ends after 2; give more --steps"),
        ({"resume": True}, {"batch": 4}, "was trained with --batch 8, and this is --batch 4; give the same"),
        (
            {"resume": True},
            {"widths": "7"},
            "is of another model: 0.weight is (8, 64) there and (7, 64) here",
        ),
        ({"resume": True}, {"widths": "8,8"}, "is of another model: "),
    ],
)
def test_checkpoints_that_do_not_fit_are_refused_before_anything_runs(saving, options, sentence, tmp_path):
    mine = Options(widths="8", batch=8, steps=2, mesh="dp=1")
    saved_after(tmp_path, (mine, False))
    mine = replace(mine, **{"steps": 4} | options)
    with pytest.raises(MpiparError) as error:
        check_saving(Saving(**{"checkpoint": str(tmp_path)} | saving), mine, checked(mine))
    assert sentence in str(error.value)


def test_a_folder_that_cannot_be_written_to_is_refused_before_anything_runs(tmp_path):
    mine, file = Options(widths="8", batch=8, steps=2, mesh="dp=1"), tmp_path / "file"
    file.write_text("")
    samples = checked(mine)
    with pytest.raises(MpiparError, match=r"file cannot be written to \(Not a directory\); choose another"):
        check_saving(Saving(str(file / "runs" / "mine")), mine, samples)
    with pytest.raises(MpiparError, match="choose"):
        check_saving(Saving(str(file)), mine, samples)
    check_saving(Saving(str(tmp_path / "new" / "runs")), mine, samples)
    assert list(tmp_path.iterdir()) == [file]


def test_when_it_is_saved():
    for given, steps in (({}, [7]), ({"checkpoint_every": 3}, [3, 6, 7]), ({"checkpoint": None}, [])):
        saving = Saving(**{"checkpoint": "runs"} | given)
        assert [step for step in range(1, 8) if saving.is_due(step, 7)] == steps


def test_digits_are_learned():
    staged = Options(mesh="pp=3", epochs=3, batch=60)
    for options in (Options(mesh="dp=3", epochs=3), Options("cnn", mesh="dp=2", epochs=3), staged):
        _, (what, value) = trained(options, options.ranks)
        assert what == "test accuracy" and value > 0.8


def test_momentum_is_not_sgd():
    first, second = (trained(Options(optimizer=name, lr=0.1, steps=3), 1)[0] for name in ("sgd", "momentum"))
    assert not np.allclose(first["0.weight"], second["0.weight"])


def test_training_refuses_a_pipeline_with_parameters_in_pieces():
    def program(world):
        mesh = mp.parallel.Mesh(world)
        stages = mp.parallel.Pipeline(mp.nn.MLP([2, 2]), mesh["pp"], seed=0)
        zero = mp.parallel.ZeRO(stages.model, mp.optim.SGD, mesh["dp"], 3)
        with pytest.raises(LayoutError, match="keeps its stages whole; give stage 1 or 2"):
            mp.parallel.Training(stages.model, zero, mesh, pipeline=stages)
        with pytest.raises(OptionError, match="strategy are DataParallel's; give ZeRO its own instead"):
            mp.parallel.Training(stages.model, zero, mesh, strategy="flat")

    mp.virtual.run(program, 1)


def test_training_refuses_what_makes_no_step():
    model = mp.nn.MLP([2, 2], seed=0)

    def program(world):
        with pytest.raises(OptionError, match=r"micro=0, clip=0\.0; give at least 1 and 0"):
            mp.parallel.Training(model, mp.optim.SGD(model.parameters()), mp.parallel.Mesh(world), micro=0)

    mp.virtual.run(program, 1)
