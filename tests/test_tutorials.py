"""Every tutorial runs on 2 and 4 ranks, on 1, 3 and 5 virtual ones, and prints what it promises."""

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from ranks import run_python, run_ranks

from mpipar.arrays import BACKEND
from mpipar.trace import read

FOLDER = Path(__file__).parents[1] / "tutorials"
QUICK = {  # arguments that keep a test short
    "01_gradients": ["--weights", "100"],
    "02_messages": ["--rounds", "20"],
    "03_ring_allreduce": [],
    "04_data_parallel": ["--epochs", "2"],
    "05_collectives": ["--repeats", "2", "--virtual", "16"],
    "06_reading_traces": ["--steps", "3"],
    "07_tensor_parallel": [],
    "08_mesh": ["--steps", "4"],
    "09_pipeline": ["--milliseconds", "0.2"],
    "10_zero": ["--steps", "3"],
    "11_three_dimensions": ["--steps", "4"],
}


def run(name, size, trace, *arguments):
    finished = run_ranks(size, [str(FOLDER / f"{name}.py"), "--trace", str(trace), *arguments])
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


# runs of which a test asks more than a short one tells
WHOLE = {("04_data_parallel", 4), ("06_reading_traces", 2), ("06_reading_traces", 4)}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """(tutorial, size) -> what it printed under mpirun, and its trace; each is run once."""

    @cache
    def of(name, size):
        folder = tmp_path_factory.mktemp("run") / "trace"
        return run(name, size, folder, *([] if (name, size) in WHOLE else QUICK[name])), folder

    return of


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """(tutorial, size) -> the same on virtual ranks."""

    @cache
    def of(name, size):
        folder = tmp_path_factory.mktemp("run") / "trace"
        script = [str(FOLDER / f"{name}.py"), "--trace", str(folder), *QUICK[name]]
        finished = run_python(["-m", "mpipar.cli", "sim", "-n", str(size), *script])
        assert finished.returncode == 0, finished.stderr
        return "".join(line.rstrip() + "\n" for line in finished.stdout.splitlines()), folder

    return of


def test_every_tutorial_is_listed_here():
    assert sorted(file.stem for file in FOLDER.glob("[0-9]*.py")) == sorted(QUICK)


@pytest.mark.parametrize("size", [2, 4] if BACKEND == "numpy" else [2])
@pytest.mark.parametrize("name", sorted(QUICK))
def test_it_runs_and_its_trace_is_whole(name, size, recorded):
    output, folder = recorded(name, size)
    assert f"Messages of {size} ranks" in output
    assert max(len(line) for line in output.splitlines() if str(folder) not in line) <= 110
    trace = read(folder)
    assert trace.problems == [] and trace.size == size


@pytest.mark.parametrize("size", [3, 5] if BACKEND != "fake" else [3])
@pytest.mark.parametrize("name", sorted(QUICK))
def test_it_runs_on_virtual_ranks(name, size, simulated):
    output, folder = simulated(name, size)
    lines = output.splitlines()
    assert lines[0].startswith("[0] ") and lines[0].endswith("?")
    assert f"[0] Messages of {size} ranks" in lines
    assert read(folder).problems == []


@pytest.mark.parametrize("name", sorted(QUICK))
def test_it_is_short_and_opens_with_a_question(name):
    text = (FOLDER / f"{name}.py").read_text()
    assert len(text.splitlines()) <= 150
    assert text.startswith("# %% [markdown]\n# # ")
    assert "?**" in text.split("# %%\n")[0]


def test_the_first_lesson_recognises_digits_and_equals_the_serial_run(recorded):
    output, _ = recorded("04_data_parallel", 4)
    last = next(line for line in output.splitlines() if line.startswith("epoch 20/20"))
    assert float(last.split("accuracy")[1].rstrip("% ")) >= 96
    assert "equal to the serial run: yes" in output
    difference = output.split("largest relative difference ")[1].split(",")[0]
    assert float(difference) < 1e-11


def test_the_ring_prints_every_hop(recorded):
    output, _ = recorded("03_ring_allreduce", 4)
    assert "1  rank 0 → 1      3   24 B  reduce-scatter  1 1 1" in output
    assert output.count("reduce-scatter") == output.count("allgather  ") == 12
    assert "in the ring the busiest rank sends 18 numbers\n" in output


def test_the_ring_tells_the_truth_where_the_ranks_do_not_divide_the_numbers(simulated):
    """12 numbers on 5 ranks are chunks of 3, 3, 2, 2, 2; a rank sends all but one of them, twice."""
    output, _ = simulated("03_ring_allreduce", 5)
    assert "in the ring the busiest rank sends 20 numbers\n" in output
    assert "2(p-1)/p · 12 = 19.2" in output


@pytest.mark.parametrize("name", sorted(QUICK))
def test_one_rank_alone_is_no_mistake(name, simulated):
    output, _ = simulated(name, 1)
    assert "Messages of 1 rank\n" in output or "no messages were recorded\n" in output
    assert "1 ranks" not in output and "nan" not in output
    if name == "03_ring_allreduce":
        assert "one rank alone has the sum already" in output


def test_gradients_of_more_ranks_than_samples(simulated):
    output, _ = simulated("01_gradients", 41)
    difference = output.split("against the gradient of the whole: ")[1].split("\n")[0]
    assert float(difference) < 1e-14


def line_of(name, text):
    """Number of the line of a tutorial that begins with this text."""
    lines = (FOLDER / f"{name}.py").read_text().splitlines()
    return 1 + next(i for i, line in enumerate(lines) if line.strip().startswith(text))


def run_either(virtual, size, program, **environment):
    """The program's arguments on virtual ranks or under mpirun, without a trace."""
    program = [*program, "--trace", "0", "--rounds", "5"]
    if virtual:
        return run_python(["-m", "mpipar.cli", "sim", "-n", str(size), *program], **environment)
    return run_ranks(size, program, **environment)


@pytest.mark.parametrize(("virtual", "size"), [(False, 2), (False, 4), (True, 2), (True, 3), (True, 4)])
def test_the_mistake_ends_with_a_verdict(virtual, size):
    script = FOLDER / "02_messages.py"
    finished = run_either(virtual, size, [str(script), "--mistake", "receive"])
    assert finished.returncode != 0
    verdict = finished.stderr[finished.stderr.index("mpipar: ") :].splitlines()
    site = f"tutorials/02_messages.py:{1 + line_of('02_messages', 'if args.mistake')}"
    assert verdict[0] == "mpipar: receive cycle"
    assert verdict[1].count(site) == size == verdict[1].count("rank ")
    ring = [0, *range(size - 1, -1, -1)]
    assert f"  {' → '.join(map(str, ring))}" in verdict


@pytest.mark.parametrize("virtual", [False, True])
@pytest.mark.parametrize(
    ("check", "said"), [("watch", "mpipar warning: buffered sends\n"), ("strict", "mpipar: send ring\n")]
)
def test_the_other_mistake_is_warned_about(virtual, check, said):
    program = [str(FOLDER / "02_messages.py"), "--mistake", "send"]
    finished = run_either(virtual, 3, program, MPIPAR_CHECK=check)
    assert said in finished.stderr
    assert (finished.returncode == 0) == (check == "watch")


@pytest.mark.parametrize(
    ("virtual", "repair"),
    [
        (True, ["world.sendrecv(mine, right, left, out=theirs)"]),
        (True, ["request = world.isend(mine, right)", "world.recv(theirs, left)", "request.wait()"]),
        (False, ["request = world.isend(mine, right)", "world.recv(theirs, left)", "request.wait()"]),
    ],
)
def test_the_mistake_can_be_repaired(virtual, repair, tmp_path):
    wrong = "    world.recv(theirs, left)\n    world.send(mine, right)\n"
    text = (FOLDER / "02_messages.py").read_text()
    assert text.count(wrong) == 1
    (tmp_path / "repaired.py").write_text(text.replace(wrong, "".join(f"    {line}\n" for line in repair)))
    finished = run_either(virtual, 3, [str(tmp_path / "repaired.py"), "--mistake", "receive"])
    assert finished.returncode == 0, finished.stderr
    assert "mpipar" not in finished.stderr


def crossings(output):
    """(predicted, measured) of each of the tutorial's tables, in bytes."""
    found = re.findall(r"predicted from ([\d,]+) bytes on,\s+measured from ([\d,]+) bytes on", output)
    return [tuple(int(number.replace(",", "")) for number in pair) for pair in found]


def test_the_predicted_crossing_is_the_one_by_the_closed_formula(tmp_path):
    """alpha, beta and gamma of the default network; XDG_CONFIG_HOME: not of a calibrated one."""
    alpha, beta, gamma = 1e-6, 1 / 15e9, 1 / 60e9
    by_hand = [
        (2 * (p - 1) - k) * alpha / (k * (beta + gamma) - (p - 1) / p * (2 * beta + gamma))
        for k, p in ((2, 4), (8, 256))
    ]
    script = [str(FOLDER / "05_collectives.py"), "--trace", "0", "--repeats", "2"]
    home = str(tmp_path)
    finished = run_python(["-m", "mpipar.cli", "sim", "-n", "4", *script], XDG_CONFIG_HOME=home)
    assert finished.returncode == 0, finished.stderr
    found = crossings(finished.stdout)
    assert [predicted for predicted, _ in found] == [round(n) for n in by_hand]
    assert [measured for _, measured in found] == pytest.approx(by_hand, rel=1e-3)


def test_256_virtual_ranks_in_parts_and_as_a_whole_agree(tmp_path):
    script = [str(FOLDER / "05_collectives.py"), "--trace", "0"]
    finished = run_python(["-m", "mpipar.cli", "sim", "-n", "256", *script], XDG_CONFIG_HOME=str(tmp_path))
    assert finished.returncode == 0, finished.stderr
    assert crossings(finished.stdout) == [(970512, 970512)]


def test_a_run_within_a_run_leaves_its_trace_alone(tmp_path):
    script = [str(FOLDER / "05_collectives.py"), *QUICK["05_collectives"]]
    trace = str(tmp_path / "trace")
    finished = run_python(["-m", "mpipar.cli", "sim", "-n", "3", *script], MPIPAR_TRACE=trace)
    assert finished.returncode == 0, finished.stderr
    assert read(trace).size == 3 and read(trace).problems == []


@pytest.mark.parametrize("size", [2, 4])
def test_the_analysis_finds_the_injected_faults_also_on_real_ranks(size, recorded):
    output, _ = recorded("06_reading_traces", size)
    assert "these are the injected faults: yes\n" in output
    assert "C: unneeded: 8 times bcast\n" in output


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_culprits_are_drawn_by_lot_and_found(seed, tmp_path):
    script = [str(FOLDER / "06_reading_traces.py"), "--seed", str(seed), "--trace", str(tmp_path / "t")]
    finished = run_python(["-m", "mpipar.cli", "sim", "-n", "5", *script])
    assert "these are the injected faults: yes" in finished.stdout, finished.stderr
    found = re.search(r"the others wait for rank (\d)\s.*waits for rank (\d) to send", finished.stdout, re.S)
    lot = np.random.default_rng([seed, 5])
    assert [int(rank) for rank in found.groups()] == [lot.integers(5), lot.integers(1, 5)]
    losses = re.findall(r"last loss (\d\.\d+)", finished.stdout)
    assert len(losses) == 3 and len(set(losses)) == 1


def test_the_answers_can_be_kept_back(tmp_path):
    script = [
        str(FOLDER / "06_reading_traces.py"),
        "--no-answers",
        "--steps",
        "2",
        "--trace",
        str(tmp_path / "t"),
    ]
    finished = run_python(["-m", "mpipar.cli", "sim", "-n", "3", *script])
    assert "Find the faults:" in finished.stdout, finished.stderr
    assert "unneeded" not in finished.stdout and "injected" not in finished.stdout


def test_each_fault_can_be_chosen_alone(tmp_path):
    """The time of a step by hand: 4 ms to compute, 8 ms to log; slow adds 8 ms, late adds 8 ms."""
    took = {}
    for fault in ("none", "slow", "late", "extra"):
        script = [str(FOLDER / "06_reading_traces.py"), "--fault", fault, "--trace", "0"]
        finished = run_python(["-m", "mpipar.cli", "sim", "-n", "3", *script])
        assert finished.returncode == 0, finished.stderr
        took[fault] = [round(float(ms) / 8) for ms in re.findall(r", ([\d.]+) ms", finished.stdout)]
    assert took == {"none": [12, 12, 12], "slow": [20, 12, 12], "late": [12, 20, 12], "extra": [12, 12, 12]}


def test_a_wrong_argument_is_reported_once(tmp_path):
    finished = run_ranks(3, [str(FOLDER / "04_data_parallel.py"), "--epochs", "many"])
    assert finished.returncode != 0
    assert finished.stderr.count("argument --epochs: invalid int value: 'many'") == 1


def test_without_a_trace_it_says_so():
    script = [str(FOLDER / "01_gradients.py"), "--trace", "0", "--weights", "10"]
    finished = run_python(["-m", "mpipar.cli", "sim", "-n", "2", *script])
    assert "no trace was recorded" in finished.stdout, finished.stderr


@pytest.mark.parametrize("size", [2, 4])
def test_the_bubbles_of_virtual_ranks_are_those_by_the_formulas(size):
    """(P-1)/(m+P-1) of GPipe and 1F1B; of ZB-H1 P-1 of 3m+P-1 units, all of F, I, W one unit."""
    finished = run_python(
        ["-m", "mpipar.cli", "sim", "-n", str(size), str(FOLDER / "09_pipeline.py"), "--trace", "0"]
    )
    assert finished.returncode == 0, finished.stderr
    rows = re.findall(r"(gpipe|1f1b|zb-h1|mine) +([\d.]+)% +([\d.]+)% +(\d+)", finished.stdout)
    by_hand = {"gpipe": (8 + size - 1, 8), "1f1b": (8 + size - 1, size), "zb-h1": (24 + size - 1, size)}
    for name, predicted, measured, held in rows[:3]:
        units, most = by_hand[name]
        assert float(predicted) == pytest.approx(100 * (size - 1) / units, abs=0.06)
        assert abs(float(measured) - float(predicted)) < 0.5 and int(held) == most
    assert [name for name, *_ in rows] == [*by_hand, "mine"]
    assert "all schedules have one loss: yes" in finished.stdout


@pytest.mark.parametrize(("optimizer", "k"), [("AdamW", 2), ("SGD", 0)])
def test_zero_keeps_and_sends_what_the_closed_forms_say(tmp_path, optimizer, k):
    """4Ψ = 536,688 bytes, which 4 ranks can share; the largest of the layers has 240 · 241 numbers."""
    script = [str(FOLDER / "10_zero.py"), "--trace", str(tmp_path / "trace"), "--optimizer", optimizer]
    finished = run_python(["-m", "mpipar.cli", "sim", "-n", "4", *script, "--steps", "2"])
    assert finished.returncode == 0, finished.stderr
    whole, room = 536_688, 4 * 240 * 241
    kept = [(2 + k) * whole, (2 + k / 4) * whole, (1 + (1 + k) / 4) * whole, (2 + k) / 4 * whole + room]
    text = finished.stdout.replace(",", "")
    rows = re.findall(r"^\[0\] +([0-3])(?: +\d+){4} +(\d+) +(\d+) +[\d.]+ *$", text, re.M)
    assert [(int(stage), int(one), int(two)) for stage, one, two in rows] == [
        (stage, n, n) for stage, n in enumerate(kept)
    ]
    sent = re.findall(r"stage ([0-3]) +predicted +(\d+) +sent +(\d+)", text)
    by_hand = [2 * whole * 3 // 4] * 3 + [3 * whole * 3 // 4]
    assert [(int(one), int(two)) for _, one, two in sent] == [(n, n) for n in by_hand]
    assert "all stages have the losses of stage 0: yes" in finished.stdout


@pytest.mark.parametrize(
    ("mistake", "verdict"),
    [
        ("none", r"equal \(largest relative difference \S+e-1[4-7] in "),
        ("bias", r"the output of b in step 1, on ranks 0, 1, 2, by .* the bias \(it is added 3 times"),
        ("conjugate", r"the gradient of b\.weight in step 1, .* not reduced \(each tp rank has its own part"),
    ],
)
def test_a_layer_of_ones_own_is_certified_and_its_mistake_named(mistake, verdict):
    script = [str(FOLDER / "07_tensor_parallel.py"), "--trace", "0", "--mistake", mistake]
    finished = run_python(["-m", "mpipar.cli", "sim", "-n", "3", *script])
    assert finished.returncode == 0, finished.stderr
    said = " ".join(line.removeprefix("[0]").strip() for line in finished.stdout.splitlines())
    assert re.search(verdict, said), said
    assert said.count("wrong by") == len(re.findall(r"without a message +wrong by", said)) == 2


def test_layers_of_no_samples_are_refused():
    script = [str(FOLDER / "07_tensor_parallel.py"), "--trace", "0", "--samples", "0"]
    finished = run_python(["-m", "mpipar.cli", "sim", "-n", "2", *script])
    assert finished.returncode != 0 and finished.stderr == "mpipar: --samples 0: give 1 or more\n"


@pytest.mark.parametrize("sequence", [False, True])
def test_the_mesh_predicts_its_messages_learns_and_is_certified(sequence, tmp_path):
    flag = ["--sequence"] if sequence else ["--no-sequence"]
    script = [str(FOLDER / "08_mesh.py"), "--trace", str(tmp_path / "trace"), *flag]
    finished = run_python(["-m", "mpipar.cli", "sim", "-n", "4", *script])
    assert finished.returncode == 0, finished.stderr
    output = finished.stdout
    losses = [float(number) for number in re.findall(r"loss (\d\.\d+)", output)]
    assert losses[-1] < losses[0] - 0.2
    assert "along dp: 1 collective a step" in output
    # without --sequence 10 allreduces of 32 KiB, the loss's 3 KiB and the norm; with it each allreduce is
    # two halves, and beside them go 14 gradients of 128 B and half of the positions' 4 KiB
    calls, sent = (38, "326.8 KiB") if sequence else (13, "323.0 KiB")
    assert f"along tp: {calls} collectives a step, rank 0 sends {sent}\n" in output
    assert "dp=2 × tp=2 against one rank alone: equal (largest relative difference" in output


@pytest.mark.parametrize(("size", "schedule"), [(6, "zb-h1"), (8, "1f1b")])
def test_three_dimensions_are_predicted_learned_and_certified(size, schedule, tmp_path):
    """Of 8 ranks, 16 samples, T = W = 16: a = 4 · 8 · 16 · 16 bytes; the gradients' norm is 8 bytes more."""
    script = [
        str(FOLDER / "11_three_dimensions.py"),
        "--trace",
        str(tmp_path / "trace"),
        "--schedule",
        schedule,
    ]
    finished = run_python(["-m", "mpipar.cli", "sim", "-n", str(size), *script])
    assert finished.returncode == 0, finished.stderr
    losses = [float(number) for number in re.findall(r"loss (\d\.\d+)", finished.stdout)]
    assert losses[-1] < losses[0] - 0.2
    a = 4 * 8 * 16 * 16
    n = int(re.search(r"of which rank 0 has ([\d,]+)", finished.stdout)[1].replace(",", ""))
    rows = re.findall(r"(tp|dp|pp) +(\d) +(\d+) +([\d,]+) +([\d,]+)", finished.stdout)
    found = {axis: [int(x.replace(",", "")) for x in (predicted, sent)] for axis, *_, predicted, sent in rows}
    by_hand = {"tp": 5 * a, "dp": 8 * n, "pp": a}
    assert found == {axis: [by_hand[axis], by_hand[axis] + 8] for axis in found}
    assert set(found) == ({"tp", "dp", "pp"} if size == 8 else {"dp", "pp"})
    assert "against one rank alone: equal (largest relative difference" in finished.stdout
