"""`mpipar train` and `mpipar certify` as they are typed."""

import json
import re

import pytest
from ranks import run_python, run_ranks

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


def test_under_mpirun_a_mistake_is_said_once():
    run = run_ranks(2, ["-m", "mpipar.cli", "train", "--mesh", "dp=3"])
    assert run.returncode != 0
    assert run.stderr.count("mpipar: --mesh dp=3 has 3 ranks, but 2 ranks were started") == 1


@pytest.mark.parametrize("strategy", ["naive", "overlap"])
def test_on_virtual_ranks_two_runs_are_alike(strategy):
    words = ["--mesh", "dp=2", "--strategy", strategy, "--steps", "3", "--virtual", "--trace", "0"]
    runs = [mpipar("train", *words) for _ in range(2)]
    assert runs[0].returncode == 0, runs[0].stderr
    assert runs[0].stdout == runs[1].stdout and "exposed 100%" in runs[0].stdout


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


def test_certify_says_equal_and_ends_with_0(tmp_path):
    run = mpipar("certify", *TINY, "--mesh", "dp=2,tp=2", "--sequence", "--check-steps", "2")
    assert run.returncode == 0, run.stderr
    assert "gpt on dp=2,tp=2 against one rank alone, 2 steps in float64" in run.stdout
    assert re.search(
        r"^equal \(largest relative difference \S+e-1[2-6] in [\w.]+\)$", run.stdout, re.MULTILINE
    )
    run = mpipar("certify", "-n", "3", "--virtual", "--json")
    found = json.loads(run.stdout)
    assert found["equal"] and found["difference"] is None and 0 < found["largest"] < 1e-11


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
        ("train -n 0", "0 ranks cannot run anything; ask for 1 or more"),
        ("train --lr fast", "invalid value for '--lr'"),
        ("train --speed 3", "no such option: --speed"),
        ("train --hostfile nowhere", "there is no hostfile nowhere; name a file with a line"),
        ("train --mpirun /bin/true", "/bin/true is no mpirun"),
        ("train --virtual --network nowhere.toml", "nowhere.toml"),
    ],
)
def test_a_mistake_is_one_sentence_before_anything_runs(words, sentence):
    run = mpipar(*words.split())
    assert run.returncode == 2 and run.stdout == ""
    assert run.stderr.startswith("mpipar: ") and sentence in run.stderr and run.stderr.count("\n") == 1


def test_help_lists_every_option():
    run = mpipar("train", "--help")
    assert run.returncode == 0
    for name in ("--model", "--mesh", "--sequence", "--micro-batches", "--virtual", "--trace", "--ranks"):
        assert name in run.stdout
