"""`mpipar train` and `mpipar certify` as they are typed."""

import json
import re
from shutil import copytree

import numpy as np
import pytest
from ranks import run_python, run_ranks

from mpipar.parallel.weights import whole_weights
from mpipar.trace import read

TINY = ["--model", "gpt", "--width", "16", "--layers", "1", "--context", "16", "--batch", "8"]


def mpipar(*words, **environment):
    return run_python(["-m", "mpipar.cli", *words], **environment)


def test_train_starts_mpirun_on_the_ranks_of_the_mesh_and_shows_what_came_of_it(tmp_path):
    trace = str(tmp_path / "trace")
    layout = ["--mesh", "dp=2,tp=2", "--sequence", "--strategy", "overlap", "--micro-batches", "2"]
    run = mpipar("train", *TINY, *layout, "--steps", "20", "--lr", "0.01", "--trace", trace)
    assert run.returncode == 0, run.stderr
    assert re.search(r"^\$ .*mpirun -n 4 .* -m mpipar\.cli train --model gpt .*--sequence", run.stderr)
    lines = run.stdout.splitlines()
    assert lines[0].startswith("gpt on text; 4 ranks: dp=2 × tp=2; ")
    progress = [line for line in lines if line.startswith("step ")]
    assert len(progress) == 20 and progress[-1].startswith("step 20/20  loss ")
    assert all(re.search(r"[\d,]+ tokens/s  exposed +\d+%$", line) for line in progress)
    first, last = (float(line.split("loss")[1].split()[0]) for line in (progress[0], progress[-1]))
    assert last < first - 0.5
    assert (
        "certify --model gpt --mesh dp=2,tp=2 --sequence --lr 0.01 --batch 8 --micro-batches 2" in run.stdout
    )
    assert "Messages of 4 ranks" in run.stdout and read(trace).problems == []
    assert max(len(line.rstrip()) for line in lines if "certify" not in line and trace not in line) <= 100


def test_under_mpirun_it_just_trains_on_all_ranks():
    run = run_ranks(3, ["-m", "mpipar.cli", "train", "--epochs", "2"])
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("mlp on digits; 3 ranks: dp=3; ") == 1 and "$" not in run.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--mesh", "dp=3"], "--mesh dp=3 has 3 ranks, but 2 ranks were started"),
        (
            ["--hostfile", "nowhere"],
            "--hostfile is for starting mpirun, and the ranks run already; leave it out",
        ),
    ],
)
def test_under_mpirun_a_mistake_is_said_once(words, sentence):
    run = run_ranks(2, ["-m", "mpipar.cli", "train", *words])
    assert run.returncode != 0
    assert run.stderr.count(f"mpipar: {sentence}") == 1


@pytest.mark.parametrize("strategy", ["naive", "overlap"])
def test_on_virtual_ranks_two_runs_are_alike(strategy):
    words = ["--mesh", "dp=2", "--strategy", strategy, "--steps", "3", "--virtual", "--trace", "0"]
    runs = [mpipar("train", *words) for _ in range(2)]
    assert runs[0].returncode == 0, runs[0].stderr
    assert runs[0].stdout == runs[1].stdout and "exposed 100%" in runs[0].stdout


@pytest.mark.parametrize(("compute", "times"), [("none", 1), ("measured", 0)])
def test_a_speed_without_computing_is_said_to_be_one(compute, times):
    words = ["--mesh", "dp=2", "--steps", "1", "--virtual", "--trace", "0", "--compute", compute]
    run = mpipar("train", *words)
    assert run.returncode == 0, run.stderr
    said = " ".join(run.stdout.split())
    assert (
        said.count("virtual, of messages alone: computing took none; --compute measured counts it") == times
    )
    assert max(len(line.rstrip()) for line in run.stdout.splitlines() if "certify" not in line) <= 100


def test_a_slower_network_is_slower(tmp_path):
    rates = []
    for alpha in ("1e-6", "1e-3"):
        network = tmp_path / "net.toml"
        network.write_text(
            f"ranks_per_socket = 1\nsockets_per_node = 1\n[cluster]\nalpha = {alpha}\nbeta = 1e-9\n"
        )
        words = ["--mesh", "dp=2", "--steps", "2", "--virtual", "--network", str(network)]
        run = mpipar("train", *words, "--strategy", "flat")
        assert run.returncode == 0, run.stderr
        rates.append(float(re.search(r"speed +([\d,]+) samples/s", run.stdout)[1].replace(",", "")))
    assert rates[0] > 3 * rates[1]


THREE = [*TINY, "--data", "text", "--mesh", "dp=2,tp=2,pp=2", "--schedule", "1f1b"]
THREE += ["--micro-batches", "4", "--zero", "1"]


def test_three_axes_stop_and_go_on_bit_by_bit_on_real_ranks(tmp_path):
    """Six steps on virtual ranks are three on them and, after a stop, three on real ones."""
    whole, parts, trace = (str(tmp_path / name) for name in ("whole", "parts", "trace"))
    run = mpipar("train", *THREE, "--steps", "6", "--checkpoint", whole, "--virtual")
    assert run.returncode == 0, run.stderr
    run = mpipar("train", *THREE, "--steps", "3", "--checkpoint", parts, "--virtual")
    assert run.returncode == 0, run.stderr
    run = mpipar("train", *THREE, "--steps", "6", "--checkpoint", parts, "--resume", "--trace", trace)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0].startswith("gpt on text; 8 ranks: pp=2 × dp=2 × tp=2; ")
    assert lines[1] == f"going on from step-000003 in {parts}"
    assert [line[:8] for line in lines[2:5]] == ["step 4/6", "step 5/6", "step 6/6"]
    said = " ".join(run.stdout.split())
    assert "pipeline 1f1b, 4 micro-batches, stages of 2, 1 layers; rank 0 held 2 activations at most" in said
    assert "ZeRO stage 1; on rank 0: parameters" in said
    assert (
        max(len(line.rstrip()) for line in lines if "certify" not in line and str(tmp_path) not in line)
        <= 100
    )
    first, second = whole_weights(whole), whole_weights(parts)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    summary = mpipar("trace", "summary", trace).stdout
    assert re.search(r"pipeline 1f1b: \d+ % of .* by the formula \(P-1\)/\(m\+P-1\) 20 %", summary)


def test_checkpoints_come_every_so_many_steps_and_the_last_ones_stay(tmp_path):
    words = [*TINY, "--steps", "7", "--checkpoint", str(tmp_path), "--checkpoint-every", "2", "--keep", "3"]
    run = mpipar("train", *words, "--virtual")
    assert run.returncode == 0, run.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000004", "step-000006", "step-000007"]
    assert f"saved in {tmp_path}; --resume --steps 14 goes on" in run.stdout


FULL_DISK = """
import resource, sys
import mpipar
from mpipar.cli.train import call
mpipar.world()
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
sys.exit(call("train", sys.argv[1:]))
"""


def test_a_full_disk_ends_all_ranks_with_one_sentence_and_leaves_nothing(tmp_path):
    words = [*TINY, "--mesh", "dp=2,pp=2", "--steps", "4", "--checkpoint", str(tmp_path / "runs")]
    run = run_ranks(4, ["-c", FULL_DISK, *words, "--checkpoint-every", "2"], limit=30)
    assert run.returncode not in (0, 124)
    assert run.stderr.count("File too large; make room, or choose another folder") == 1
    assert list((tmp_path / "runs").iterdir()) == [] and "step 1/4" in run.stdout


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("cut", "it is cut off or another file"),
        ("newer", "has format 9, and this mpipar reads up to 1; update mpipar"),
        ("foreign", "was not written by mpipar"),
        ("none", "has no checkpoint"),
    ],
)
def test_a_checkpoint_that_cannot_be_gone_on_from_is_one_sentence(damage, sentence, saved, tmp_path):
    step = tmp_path / "runs" / "step-000002"
    copytree(saved, tmp_path / "runs")
    manifest = step / "checkpoint.json"
    if damage == "cut":
        numbers = next(step.glob("*.safetensors"))
        numbers.write_bytes(numbers.read_bytes()[:-8])
    elif damage == "newer":
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": 9}))
    elif damage == "foreign":
        manifest.write_text("{}")
    else:
        manifest.unlink()
    run = mpipar("train", *TINY, "--checkpoint", str(tmp_path / "runs"), "--resume", "--steps", "4")
    assert run.returncode == 2 and run.stdout == ""
    assert run.stderr.startswith("mpipar: ") and sentence in run.stderr and run.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    run = mpipar("train", *TINY, "--steps", "2", "--checkpoint", str(folder), "--virtual", "-n", "2")
    assert run.returncode == 0, run.stderr
    return folder


def test_certify_says_equal_and_ends_with_0(tmp_path):
    run = mpipar("certify", *TINY, "--mesh", "dp=2,tp=2", "--sequence", "--check-steps", "2")
    assert run.returncode == 0, run.stderr
    assert "gpt on dp=2,tp=2 against one rank alone, 2 steps in float64" in run.stdout
    assert re.search(
        r"^equal \(largest relative difference \S+e-1[2-6] in [\w.]+\)$", run.stdout, re.MULTILINE
    )
    run = mpipar("certify", *THREE, "--virtual", "--check-steps", "2")
    assert "gpt on dp=2,tp=2,pp=2 against one rank alone" in run.stdout and "\nequal (" in run.stdout
    run = mpipar("certify", "-n", "3", "--virtual", "--json")
    found = json.loads(run.stdout)
    assert found["equal"] and found["difference"] is None and 0 < found["largest"] < 1e-11


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--mesh", "dp=2", "--lr", "1e30", "--steps", "60"], r"loss of step [2-6] is not finite; give a "),
        ([*TINY, "--mesh", "pp=2", "--lr", "1e38", "--steps", "1"], "test loss after step 1 is not finite"),
    ],
)
def test_a_loss_that_is_not_finite_ends_all_ranks(words, sentence, tmp_path):
    run = mpipar("train", *words, "--virtual", "--checkpoint", str(tmp_path / "runs"))
    assert run.returncode == 2 and "nan" not in run.stdout
    assert re.search(sentence, run.stderr) and run.stderr.count("\n") == 1


def test_a_loss_that_is_not_finite_ends_real_ranks_and_is_not_saved(tmp_path):
    words = ["--lr", "1e30", "--steps", "40", "--checkpoint", str(tmp_path / "runs")]
    run = run_ranks(3, ["-m", "mpipar.cli", "train", *words, "--checkpoint-every", "7"], limit=30)
    assert run.returncode not in (0, 124) and not (tmp_path / "runs").exists()
    assert run.stderr.count("is not finite; give a smaller --lr than 1e+30, or --clip 1") == 1


@pytest.mark.parametrize("layout", [["--mesh", "dp=2"], ["--mesh", "dp=2", "--zero", "3"], THREE])
def test_on_a_device_it_trains_as_on_the_host_and_is_certified(layout):
    """The stand-in for CuPy refuses every copy to the host that is not asked for."""
    runs = [
        mpipar("train", *layout, "--steps", "2", "--virtual", "--trace", "0", MPIPAR_BACKEND=backend)
        for backend in ("fake", "numpy")
    ]
    assert runs[0].returncode == 0, runs[0].stderr
    losses = [re.findall(r"loss +[\d.]+", run.stdout) for run in runs]
    assert losses[0] == losses[1] and len(losses[0]) >= 3
    run = mpipar("certify", *layout, "--virtual", "--check-steps", "1", MPIPAR_BACKEND="fake")
    assert run.returncode == 0 and "\nequal (" in run.stdout, run.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "train --mesh dp=2,tp=3 --model gpt",
            "tp=3: the ranks cannot share 4 heads or 256 hidden numbers; ",
        ),
        (
            "train --mesh dp=2 -n 3",
            "--mesh dp=2 has 2 ranks, but -n is 3; let both be the same, or leave -n out",
        ),
        ("certify --data nothing.npz", "--data nothing.npz cannot be read (there is no such file); give "),
        ("train --mesh pp=2 --schedule 1f2b", "there is no schedule and no file '1f2b'; use naive, gpipe"),
        ("train --mesh pp=2 --batch 63", "--batch 63: dp=1 ranks with 2 micro-batches each need a multiple"),
        ("train --mesh pp=5 --batch 65", "3 layers cannot fill 5 stages"),
        ("train --checkpoint nothing --resume", "nothing has no checkpoint"),
        ("train -n 0", "0 ranks cannot run anything; ask for 1 or more"),
        ("train --lr fast", "invalid value for '--lr'"),
        ("train --speed 3", "no such option: --speed"),
        ("train --hostfile nowhere", "there is no hostfile nowhere; name a file with a line"),
        ("train --mpirun /bin/true", "/bin/true is no mpirun"),
        ("train --virtual --network nowhere.toml", "nowhere.toml"),
        (
            "train --network nowhere.toml",
            "--network is for virtual ranks; give --virtual, too, or leave it out",
        ),
        ("certify --compute measured", "--compute is for virtual ranks; give --virtual, too"),
        ("train --virtual --hostfile nowhere", "--hostfile is for starting mpirun, and virtual ranks are in"),
        ("certify --virtual --mpirun /bin/true", "--mpirun is for starting mpirun, and virtual ranks are in"),
    ],
)
def test_a_mistake_is_one_sentence_before_anything_runs(words, sentence):
    run = mpipar(*words.split())
    assert run.returncode == 2 and run.stdout == ""
    assert run.stderr.startswith("mpipar: ") and sentence in run.stderr and run.stderr.count("\n") == 1


def test_help_lists_every_option():
    run = mpipar("train", "--help")
    assert run.returncode == 0
    for name in (
        "--model",
        "--mesh",
        "--sequence",
        "--micro-batches",
        "--virtual",
        "--trace",
        "--ranks",
        "--schedule",
        "--zero",
        "--resume",
    ):
        assert name in run.stdout
