"""Measurements run, and their numbers belong together; how fast the machine is, is not tested."""

import json

import pytest
from ranks import run_python

from mpipar.bench import checks, results, virtual
from mpipar.errors import OptionError


def bench(*arguments, **environment):
    return run_python(["-m", "mpipar.cli", "bench", *arguments], limit=120, **environment)


TINY_CHECKS = ("checks", "--pairs", "2", "--batches", "2", "--calls", "5")
TINY_VIRTUAL = ("virtual", "-n", "3", "--steps", "7", "--ring-ranks", "5")


def test_checks_compares_pairs():
    found = json.loads(bench(*TINY_CHECKS, "--json").stdout)
    assert len(found["pairs"]) == 2
    for what in ("leg", "allreduce"):
        row = found["summary"][what]
        off, watch = ([pair[check][what][0] for pair in found["pairs"]] for check in ("off", "watch"))
        differences = sorted(b - a for a, b in zip(off, watch, strict=True))
        assert row["off"] == pytest.approx(sum(off) / 2) and row["watch"] == pytest.approx(sum(watch) / 2)
        assert (row["least"], row["most"]) == pytest.approx(differences)
        assert row["least"] <= row["cost"] <= row["most"]
        assert row["target"] == checks.TARGETS[what]
        assert all(0 < least <= median for pair in found["pairs"] for least, median in (pair["off"][what],))


def test_virtual_counts_messages():
    found = json.loads(bench(*TINY_VIRTUAL, "--json").stdout)
    for row in found["messages"].values():
        assert (row["ranks"], row["messages"]) == (3, 21) and row["seconds"] > 0
    assert (found["ring"]["ranks"], found["ring"]["messages"]) == (5, 5 * 2 * 4)
    assert found["ring"]["memory"] is None or found["ring"]["memory"] > 1 << 20


@pytest.mark.parametrize("program", [TINY_CHECKS, TINY_VIRTUAL])
def test_the_table_names_the_machine(program):
    shown = bench(*program)
    assert shown.returncode == 0, shown.stderr
    assert "target" in shown.stdout and "NumPy" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 100


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
