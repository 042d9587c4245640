"""The bench of a training step: both programs train the same model, and turns are compared in pairs."""

import io
import sys

import numpy as np
import pytest
from rich.console import Console
from test_bench import bench

from mpipar.arrays import asarray, to_host
from mpipar.bench import graph, scaling, step
from mpipar.bench.turns import Program
from mpipar.bench.workloads import WORKLOADS, replay
from mpipar.errors import LaunchError, OptionError


def test_both_train_the_same_model(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(step, "SECONDS", 0.02)
    row, zero = step.measure(["tiny_gpt"], [2], pairs=2)["rows"]
    for one in (row, zero):
        assert one["apart"] <= 1e-4 and not one["void"]
    assert zero["strategy"] == "zero1" and abs(zero["apart"] - row["apart"]) < 1e-6
    ratios = sorted(turn["peer"] / turn["ours"] for turn in row["turns"])
    assert (row["least"], row["most"]) == pytest.approx(ratios)
    assert row["ratio"] == pytest.approx(sum(ratios) / 2)
    assert row["share"] == pytest.approx(sum(t["limit"] / t["ours"] for t in row["turns"]) / 2)
    assert row["peer_peak"] > row["peak"] > 1 << 20


def test_the_commands():
    found = bench("step", "--workload", "tiny,huge")
    assert found.returncode == 2 and "no workload 'huge'" in found.stderr
    found = bench("step", "--workload", "tiny", "--strategy", "data,zero9")
    assert found.returncode == 2 and "no strategy 'zero9'; choose from data, zero1" in found.stderr
    found = bench("scaling", "--workload", "huge")
    assert found.returncode == 2 and "no workload 'huge'" in found.stderr


def test_without_the_peer(monkeypatch):
    monkeypatch.setattr(step, "find_peer", lambda: None)
    monkeypatch.setattr(step, "SECONDS", 0.01)
    result = step.measure(["tiny"], [1], pairs=1)
    assert "ratio" not in result["rows"][0] and result["rows"][0]["ours"] > 0
    assert all(seconds > 0 for seconds in result["graph"].values())
    assert "pip install torch" in shown(step.table(result))


def test_the_chains_with_and_without_a_graph_compute_the_same():
    x = asarray(np.full(8, 1.01, np.float32))
    assert (to_host(graph._relu_chain(x)) == to_host(graph._plain_relu_chain(x))).all()
    for with_graph, plain in zip(graph._mul_chain(x), graph._plain_mul_chain(x), strict=True):
        assert np.allclose(to_host(with_graph), to_host(plain), rtol=1e-5)


def test_what_the_graph_adds_is_a_chain_without_its_plain_twin(monkeypatch):
    seconds = {"_relu_chain": 5.0, "_plain_relu_chain": 2.0, "_mul_chain": 4.0, "_plain_mul_chain": 3.0}
    monkeypatch.setattr(graph, "_fastest", lambda chain, x: seconds[chain.__name__])
    assert graph.measure() == {"relu": 3.0 / graph.OPERATIONS, "mul": 1.0 / graph.OPERATIONS}


def result_of(rows):
    return {"rows": rows, "peer": "torch 1", "pairs": 1, "graph": {"relu": 1.5e-6, "mul": 2.5e-6}}


def answers(*losses, times=(2e-3,), peak=3 << 20):
    return [{"times": list(times), "losses": list(losses), "peak": peak, "before": 1 << 20}]


@pytest.mark.parametrize("apart, void", [(0.9e-4, False), (1.1e-4, True), (float("nan"), True)])
def test_losses_that_differ_make_a_row_void(apart, void):
    first = {"ours": answers(2.0, 1.0), "peer": answers(2.0, 1.0 + apart)}
    row = step._compare("mlp", 2, "data", first, [{"ours": 1.0, "peer": 2.0, "limit": 0.5}])
    assert row["void"] is void
    text = shown(step.table(result_of([row])))
    assert ("void" in text) is void and ("2.00" in text) is not void


def test_every_rank_counts_for_losses_and_memory():
    turn = [{"ours": 1.0, "peer": 2.0, "limit": 0.5}]
    both = answers(2.0, peak=3 << 20) + answers(1.0, peak=5 << 20)
    other = answers(2.0) + answers(1.5)
    row = step._compare("mlp", 2, "data", {"ours": both, "peer": other}, turn)
    assert row["void"] and row["apart"] == 0.5
    assert (row["peak"], row["model"], row["peer_peak"]) == (5 << 20, 4 << 20, 3 << 20)


def test_the_table_fits_and_has_the_targets():
    turn = {"ours": 12.34e-3, "peer": 123.4e-3, "limit": 11.1e-3}
    first = {"ours": answers(2.0), "peer": answers(2.0)}
    cases = [
        (name, *case) for name in ("mlp", "small", "gpt") for case in ((1, ""), (2, "data"), (2, "zero1"))
    ]
    rows = [step._compare(*case, first, [turn]) for case in cases]
    text = shown(step.table(result_of(rows)))
    assert "…" not in text and max(map(len, text.splitlines())) <= 100
    for target in ("≥ 1.8", "≥ 0.65", "≥ 6", "≥ 1.05"):
        assert target in text


def test_efficiency_of_scaling():
    times = (("", 1, 1.0), ("data", 2, 1.25), ("zero1", 2, 1.1))
    rows = [{"workload": "mlp", "ranks": p, "strategy": s, "ours": t, "peer": 2 * t * p} for s, p, t in times]
    found = scaling.efficiency(rows, "mlp")
    assert found == {
        "ours": pytest.approx(0.8),
        "ours ZeRO": pytest.approx(1 / 1.1),
        "peer": pytest.approx(0.4),
    }
    result = {"rows": rows, "peer": "torch 1", "efficiency": {"mlp": found}}
    text = shown(scaling.table(result))
    assert "0.80" in text and "0.91" in text


def test_products_are_those_of_the_models():
    flops = {name: sum(2 * p.count * p.m * p.k * p.n for p in w.products()) for name, w in WORKLOADS.items()}
    # three products a layer, but the first has no dx
    assert flops["mlp"] == 2 * 128 * (2 * 784 * 1024 + 3 * 1024 * 1024 + 3 * 1024 * 10)
    tokens, d, layers = 8 * 128, 256, 4
    # 6 flops a weight and token (Kaplan et al. 2020), and six products of T x T x d for attention
    assert flops["gpt"] == 6 * tokens * (12 * d * d * layers + 256 * d) + layers * 12 * 8 * 128 * 128 * d
    replay(WORKLOADS["tiny_gpt"].products())()


def test_workloads_repeat_and_differ_by_rank():
    for work in WORKLOADS.values():
        (x, labels), (again, _), (other, _) = work.data(0)[0], work.data(0)[0], work.data(1)[0]
        assert np.array_equal(x, again) and not np.array_equal(x, other)
        assert labels.shape[0] == work.batch


def test_a_program_that_fails_says_why():
    with pytest.raises(LaunchError, match="tiny ended and said 'no such thing'"):
        Program("tiny", 1, [[sys.executable, "-c", "raise SystemExit('no such thing')"]], {})
    with pytest.raises(OptionError, match="no workload 'huge'"):
        step.measure(["huge"])


def shown(table):
    screen = Console(width=100, file=io.StringIO())
    screen.print(table)
    return screen.file.getvalue()
