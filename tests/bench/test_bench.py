"""Measurements run, and their numbers belong together; how fast the machine is, is not tested."""

import io
import json

import pytest
from ranks import run_python
from rich.console import Console

from mpipar.bench import checks, results, trace, virtual
from mpipar.errors import OptionError


def bench(*arguments, **environment):
    return run_python(["-m", "mpipar.cli", "bench", *arguments], limit=120, **environment)


TINY_CHECKS = ("checks", "--pairs", "2", "--batches", "2", "--calls", "5")
TINY_TRACE = ("trace", "--jobs", "1", "--batches", "2", "--calls", "5", "--steps", "2")
TINY_VIRTUAL = ("virtual", "-n", "3", "--steps", "7", "--ring-ranks", "5")


@pytest.fixture(scope="module")
def compared():
    return json.loads(bench(*TINY_CHECKS, "--json").stdout)


def test_checks_compares_pairs(compared):
    assert len(compared["pairs"]) == 2
    for what in ("leg", "allreduce"):
        row = compared["summary"][what]
        off, watch = ([pair[check][what][0] for pair in compared["pairs"]] for check in ("off", "watch"))
        differences = sorted(b - a for a, b in zip(off, watch, strict=True))
        assert row["off"] == pytest.approx(sum(off) / 2) and row["watch"] == pytest.approx(sum(watch) / 2)
        assert (row["least"], row["most"]) == pytest.approx(differences)
        assert row["least"] <= row["cost"] <= row["most"]
        assert row["target"] == checks.TARGETS[what]
        assert all(0 < pair["off"][what][0] <= pair["off"][what][1] for pair in compared["pairs"])


def test_virtual_counts_messages():
    found = json.loads(bench(*TINY_VIRTUAL, "--json").stdout)
    for row in found["messages"].values():
        assert (row["ranks"], row["messages"]) == (3, 21) and row["seconds"] > 0
    assert (found["ring"]["ranks"], found["ring"]["messages"]) == (5, 5 * 2 * 4)
    assert found["ring"]["memory"] is None or found["ring"]["memory"] > 1 << 20


def test_trace_compares_with_and_without():
    found = json.loads(bench(*TINY_TRACE, "--json").stdout)
    (job,) = found["jobs"]
    for what, row in found["summary"].items():
        off, on = job[what]["off"], job[what]["on"]
        assert 0 < row["off"] == off and row["on"] == on
        cost = on / off - 1 if what in trace.MODELS else (on - off) / trace.EVENTS.get(what, 1)
        assert row["cost"] == row["least"] == row["most"] == pytest.approx(cost)
        assert (row["target"] == trace.SHARE) == (what in trace.MODELS)
    for what, events in trace.EVENTS.items():
        assert found["summary"][what]["events"] == pytest.approx(events, abs=0.4)  # and the model's own
    typical = {"off": 15.6e-3, "on": 15.9e-3, "cost": 0.013e-3, "least": -0.019e-6, "most": 1.15e-6}
    rows = {what: {**row, **typical} for what, row in found["summary"].items()}
    screen = Console(width=100, file=io.StringIO())
    screen.print(trace.table({**found, "summary": rows}))
    assert all(f"\n {what} " in screen.file.getvalue() for what in rows)  # each on one line


def test_what_recording_adds_is_the_median_from_one_batch_to_the_next():
    assert trace.paired([1.0, 5.0, 3.0], [2.0, 6.0, 7.0]) == (3.0, 4.0)
    assert trace.fastest([3.0, 2.0], [4.0, 5.0]) == (2.0, 4.0)


def test_several_jobs_give_a_median_and_a_range():
    jobs = [{"scope": {"off": 1e-6, "on": 1e-6 + cost, "events": 1}} for cost in (3e-6, 1e-6, 8e-6)]
    row = trace.summary("scope", jobs)
    assert (row["least"], row["cost"], row["most"]) == pytest.approx((1e-6, 3e-6, 8e-6))


@pytest.mark.parametrize(
    ("what", "cost", "shown", "met"),
    [
        ("scope", 1e-6, "1.00 µs", "yes"),
        ("scope", 1.1e-6, "1.10 µs", "no"),
        (trace.LARGE, 0.03, "3.0%", "yes"),
        (trace.LARGE, 0.031, "3.1%", "no"),
    ],
)
def test_a_cost_of_tracing_is_met_or_not(what, cost, shown, met):
    target = trace.SHARE if what in trace.MODELS else trace.EVENT
    row = {"off": 1e-3, "on": 2e-3, "events": 1, "cost": cost, "least": 0, "most": 1, "target": target}
    columns = trace.table({"jobs": [{}], "summary": {what: row}}).columns
    assert [*columns[4].cells, *columns[-1].cells] == [shown, met]


def test_the_table_names_the_machine():
    shown = bench(*TINY_VIRTUAL)
    assert shown.returncode == 0, shown.stderr
    assert "target" in shown.stdout and "NumPy" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 100


def test_the_table_of_checks_has_a_line_a_quantity(compared):
    screen = Console(width=100, file=io.StringIO())
    screen.print(checks.table(compared))
    assert all(f"\n {name} " in screen.file.getvalue() for name in checks.NAMES.values())


def summary(cost):
    row = {"off": 1e-6, "watch": 1e-6 + cost, "cost": cost, "least": cost, "most": cost, "target": 1.5e-6}
    return {"pairs": [{}], "summary": {"leg": row}}


@pytest.mark.parametrize(("cost", "met"), [(1.4e-6, "yes"), (1.5e-6, "yes"), (1.6e-6, "no")])
def test_a_target_is_met_or_not(cost, met):
    assert list(checks.table(summary(cost)).columns[-1].cells) == [met]


@pytest.mark.parametrize(
    ("messages", "seconds", "memory", "met"),
    [(1000, 0.004, 1 << 20, "yes"), (1000, 0.006, 1 << 20, "no"), (1000, 0.004, 3 << 30, "yes")],
)
def test_a_rate_is_met_or_not(messages, seconds, memory, met):
    row = {"ranks": 2, "messages": messages, "seconds": seconds, "memory": memory}
    shown = virtual.table({"messages": {"off": row}, "ring": {**row, "bytes": 8}})
    rings = "yes" if memory < 2 << 30 else "no"
    assert list(shown.columns[-1].cells) == [met, rings]


def test_a_result_is_kept_with_its_machine(tmp_path):
    result = {"machine": results.machine(), "pairs": []}
    path = results.save("checks", result, tmp_path / "new")
    assert path.name.startswith("checks-20") and json.loads(path.read_text()) == result
    assert {"date", "processor", "cores", "python", "mpi4py", "numpy", "mpirun"} <= set(result["machine"])
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="cannot be written"):
        results.save("checks", result, tmp_path / "file" / "folder")


def test_kept_results_can_be_read():
    kept = sorted(results.FOLDER.glob("*.json"))
    assert kept
    for path in kept:
        found = json.loads(path.read_text())
        assert found["machine"]["date"] and ("summary" in found or "ring" in found or "rows" in found)


def test_mpirun_that_fails_is_one_sentence():
    run = bench(*TINY_CHECKS, MPI4PY_LIBMPI="/nowhere/libmpi.so")
    assert run.returncode == 2
    assert run.stderr.startswith("mpipar: bench: mpirun ended with ") and run.stderr.count("\n") == 1
