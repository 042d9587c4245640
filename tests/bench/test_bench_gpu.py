"""`mpipar bench gpu` on fake: copies and waits of a step are counted; without a GPU it is one sentence."""

import json
from io import StringIO

import numpy as np
import pytest
from ranks import run_python
from rich.console import Console

from mpipar.bench import gpu
from mpipar.nn import MLP


def bench(*arguments, **environment):
    return run_python(["-m", "mpipar.cli", "bench", "gpu", *arguments], limit=120, **environment)


def test_without_a_gpu_it_says_what_is_missing():
    run = bench(MPIPAR_BACKEND="numpy")
    assert run.returncode == 2 and run.stderr.count("\n") == 1
    assert "sees no GPU" in run.stderr and "MPIPAR_BACKEND=fake" in run.stderr


def test_fake_counts_what_is_staged():
    run = bench("--workload", "tiny", "--ranks", "1,2", "--steps", "3", "--pairs", "1", "--json",
                MPIPAR_BACKEND="fake")  # fmt: skip
    assert run.returncode == 0, run.stderr
    alone, *sharing = json.loads(run.stdout)["rows"]
    assert (alone["ranks"], alone["copies"], alone["counts"]) == (1, None, {})
    assert [row["sums"] for row in sharing] == ["ring", "staged", "overlap ring", "overlap staged"]
    gradient = sum(p.data.size for p in MLP([6, 8, 3], seed=0).parameters()) * 4
    for row in sharing:
        # the ring sends and receives each half of the gradients twice; staged, they are one piece
        each_way = 1 if "staged" in row["sums"] else 2
        assert row["copies"]["number"] == 2 * each_way and row["copies"]["bytes"] == 2 * gradient
        # and one copy tells of the labels
        assert row["counts"] == {
            "host to device": each_way, "device to host": each_way + 1, "wait": 2 * each_way + 1
        }  # fmt: skip
        assert 0 < row["share"] < 1


def test_a_workload_that_is_not_offered():
    run = bench("--workload", "huge", MPIPAR_BACKEND="fake")
    assert run.returncode == 2 and "no workload 'huge'; choose from mlp, small" in run.stderr


def test_the_large_model_is_gpt_2_small_but_for_its_vocabulary():
    work = gpu.WORKLOADS["large"]
    assert (work.layers, work.width, work.heads, work.context, work.batch) == (12, 768, 12, 1024, 8)


def row(**given):
    return {
        "workload": "mlp",
        "ranks": 1,
        "sums": "",
        "tf32": True,
        "copies": None,
        "counts": {},
        **given,
    }


@pytest.mark.parametrize(
    ("counts", "met"),
    [({}, "yes"), ({"wait": 0}, "yes"), ({"wait": 0.1}, "no"), ({"device to host": 1}, "no")],
)
def test_a_step_without_waits_meets_its_target(counts, met):
    shown = gpu.table({"backend": "fake", "device": "fake", "peer": None, "rows": [row(counts=counts)]})
    assert list(shown.columns[-1].cells) == [met]


def test_the_table_fits():
    on_gpu = row(
        ours=0.1234, peer=0.2345, ratio=1.23, least=1.11, most=1.35, target=0.9, void=True, apart=1.0
    )
    staged = {"number": 100.5, "bytes": 1e9, "seconds": 1e-3}
    sharing = [row(ranks=4, sums=sums, ours=0.1, copies=staged, share=0.34) for sums in gpu.SHARING]
    for backend in ("cupy", "fake"):
        screen = Console(width=100, file=StringIO())
        screen.print(
            gpu.table({"backend": backend, "device": "H", "peer": "torch", "rows": [on_gpu, *sharing]})
        )
        lines = screen.file.getvalue().splitlines()
        assert sum(line.lstrip().startswith("mlp") for line in lines) == 5
        assert len([line for line in lines if line.strip()]) == 9 + (backend == "fake"), (
            "a row is broken in two"
        )


@pytest.mark.parametrize(("theirs", "apart", "met"), [(0.9, 0.0, "yes"), (0.89, 0.0, "no"), (2.0, 1.0, "no")])
def test_times_on_a_gpu(theirs, apart, met):
    turns = [
        {"ours": {"seconds": s, "counts": {}, "copies": None}, "peer": {"seconds": s * theirs}}
        for s in (1, 2)
    ]
    first = {"ours": [{"losses": [1.0]}], "peer": [{"losses": [1.0 + apart]}]}
    found = row(**gpu.summary(turns), **gpu._agreement(first, False))
    assert found["ours"] == 1.5 and np.isclose(found["ratio"], theirs)
    shown = gpu.table({"backend": "cupy", "device": "H", "peer": "torch", "rows": [found]})
    assert list(shown.columns[-1].cells) == [met]
    assert ("void" in list(shown.columns[5].cells)) == (apart > 0)


@pytest.mark.parametrize(
    ("theirs", "tf32", "void"),
    [
        ([1.0, 1.0 + 0.9e-4], False, False),
        ([1.0, 1.0 + 1e-3], False, True),
        ([1.0, 1.0 + 1e-3], True, False),
        ([1.0, float("nan")], True, True),
        ([1.5, 1.0], True, True),
    ],
)
def test_losses_on_a_gpu_that_differ_make_a_row_void(theirs, tf32, void):
    first = {"ours": [{"losses": [1.0, 1.0]}], "peer": [{"losses": theirs}]}
    assert gpu._agreement(first, tf32)["void"] is void
