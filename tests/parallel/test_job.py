"""Options -> training: what is refused, with what would fit; and that training does what it should."""

from dataclasses import replace

import numpy as np
import pytest

import mpipar as mp
from mpipar.errors import MpiparError, OptionError
from mpipar.parallel.job import Job, build_schedule, checked, length_of
from mpipar.parallel.options import Options

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
        ({"mesh": "pp=2"}, "--mesh pp=2: train offers the axes dp and tp; leave pp out"),
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
        ({"dropout": 0.5}, "--dropout 0.5 is for gpt"),
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


def test_a_text_of_ones_own(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("hello world " * 40)
    samples = checked(Options(**GPT | {"data": str(path)}))
    assert samples.classes == 24 and samples.x.shape == (26, 16)  # 432 characters, 8 words rounded up
    with pytest.raises(MpiparError, match="kept for testing has 48; give --context 47 or less"):
        checked(Options(**GPT | {"data": str(path), "context": 48}))


def trained(options, size):
    """(parameters by name, (what, value) of the test) after all steps, the same on every rank."""

    def program(world):
        job = Job(options, world)
        for batch in job.batches():
            job.training.step(batch)
        model, tp = job.training.model, job.mesh["tp"]
        return mp.parallel.whole_state_dict(model, tp), job.test()

    return mp.virtual.run(program, size)[0]


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


def test_digits_are_learned():
    for options in (Options(mesh="dp=3", epochs=3), Options("cnn", mesh="dp=2", epochs=3)):
        _, (what, value) = trained(options, options.ranks)
        assert what == "test accuracy" and value > 0.8


def test_momentum_is_not_sgd():
    first, second = (trained(Options(optimizer=name, lr=0.1, steps=3), 1)[0] for name in ("sgd", "momentum"))
    assert not np.allclose(first["0.weight"], second["0.weight"])


def test_training_refuses_what_makes_no_step():
    model = mp.nn.MLP([2, 2], seed=0)

    def program(world):
        with pytest.raises(OptionError, match=r"micro=0, clip=0\.0; give at least 1 and 0"):
            mp.parallel.Training(model, mp.optim.SGD(model.parameters()), mp.parallel.Mesh(world), micro=0)

    mp.virtual.run(program, 1)
