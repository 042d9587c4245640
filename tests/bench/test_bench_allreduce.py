"""`mpipar bench allreduce`: it runs, and its ratios are those of its turns."""

import json

import pytest
from ranks import run_python

from mpipar.arrays import BACKEND
from mpipar.bench import allreduce
from mpipar.errors import OptionError


def bench(*arguments):
    program = ["-m", "mpipar.cli", "bench", "allreduce", *arguments]
    return run_python(program, limit=120)


def test_a_run_compares_turns():
    run = bench("--sizes", "1KiB,40000B", "--pairs", "2", "--batches", "2", "--json")
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert [row["bytes"] for row in found["rows"]] == [1024, 40000] and found["ranks"] == 2
    for row in found["rows"]:
        assert len(row["turns"]) == 2 and row["algorithm"].startswith(
            "shared" if BACKEND == "numpy" else "recursive"
        )
        ratios = [turn["native"] / turn["ours"] for turn in row["turns"]]
        assert row["native"]["ratio"] == pytest.approx(sum(ratios) / 2)
        assert (row["native"]["least"], row["native"]["most"]) == (min(ratios), max(ratios))
        assert (row["gloo"] is None) == (found["peer"] is None)


def turn(ours, native, copy, **gloo):
    return {"algorithm": "ring", "ours": ours, "native": native, "copy": copy, **gloo}


def test_a_row_holds_medians_of_pairs():
    turns = [turn(1.0, 2.0, 0.5, gloo=3.0), turn(2.0, 2.0, 1.0, gloo=8.0), turn(4.0, 2.0, 1.0, gloo=8.0)]
    row = allreduce.compare(2, 1 << 20, turns)
    assert (row["ours"], row["copy"], row["limit"]) == (2.0, 1.0, 2.0)
    assert row["native"] == {"seconds": 2.0, "ratio": 1.0, "least": 0.5, "most": 2.0, "target": 1.0}
    assert row["gloo"] == {"seconds": 8.0, "ratio": 3.0, "least": 2.0, "most": 4.0, "target": 3.0}
    assert allreduce.compare(2, 1 << 20, [turn(1.0, 1.0, 1.0)])["gloo"] is None


@pytest.mark.parametrize(
    ("ranks", "nbytes", "native", "gloo", "copy", "met"),
    [
        (2, 1024, 0.6, 3.0, 0.01, True),
        (2, 1024, 0.59, 9.0, 0.01, False),
        (2, 1 << 20, 0.99, 9.0, 0.01, False),
        (4, 1024, 0.1, 2.0, 0.01, True),
        (4, 1 << 20, 1.0, 1.99, 0.01, False),
        (2, 64 << 20, 1.0, 3.0, 1 / 1.6, True),
        (2, 64 << 20, 1.0, 3.0, 1 / 1.61, False),
    ],
)
def test_what_is_asked_of_a_row(ranks, nbytes, native, gloo, copy, met):
    row = allreduce.compare(ranks, nbytes, [turn(1.0, native, copy, gloo=gloo)])
    assert allreduce.met(row) == met
    shown = allreduce.table({"ranks": ranks, "pairs": 1, "rows": [row]})
    assert list(shown.columns[-1].cells) == ["yes" if met else "no"]


def test_sizes():
    assert allreduce.sizes_of("1KiB..64KiB") == [1 << 10, 4 << 10, 16 << 10, 64 << 10]
    assert allreduce.sizes_of("8B, 3MiB") == [8, 3 << 20]
    assert allreduce.sizes_of("1KiB..2KiB") == [1024]
    for wrong in ("", "1", "3B", "0KiB", "1KiB..", "-4B", "1XiB"):
        with pytest.raises(OptionError, match="no size of float32 numbers"):
            allreduce.sizes_of(wrong)
    assert allreduce.sizes_of("4") == [4]


def test_one_rank_has_nobody():
    run = bench("-n", "1")
    assert run.returncode == 2 and "has nobody to add to" in run.stderr
