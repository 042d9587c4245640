"""The sentences about a run: whom they name, what they add up to, and what they leave open."""

import io
import json

import pytest
from made_traces import event, made
from ranks import run_python
from rich.console import Console

from mpipar.arrays import asarray
from mpipar.comm.network import Network
from mpipar.comm.virtual import run
from mpipar.trace import prepare_folder, read
from mpipar.view.why import print_why, report, sentences


@pytest.fixture
def late(tmp_path):
    """Rank 0 waits 30 ms of its 40 in two receives while rank 1 computes in forward."""
    return made(
        tmp_path / "late",
        [
            event("recv", 0, 10, peer=1, tag=0, site="ring.py:12"),
            event("scope", 10, 20, scope="loss"),
            event("recv", 20, 40, peer=1, tag=0, site="ring.py:12"),
        ],
        [
            event("scope", 0, 40, scope="forward"),
            event("scope", 0, 9, scope="forward/blocks.1"),
            event("send", 10, 10, peer=0, tag=0, site="ring.py:40"),
            event("scope", 11, 40, scope="forward/blocks.1"),
            event("send", 40, 40, peer=0, tag=0, site="ring.py:40"),
        ],
    )


def test_a_sentence_names_the_culprit_its_line_and_its_scope(late):
    assert sentences(late)[0] == (
        "rank 0 waited 30 ms (75 % of its time) for rank 1 to send, in recv(source=1, tag=0) at ring.py:12 "
        "(2 times); meanwhile rank 1 computed in forward/blocks.1, until its send at ring.py:40"
    )


def test_the_critical_path_is_told_with_what_to_speed_up(late):
    assert sentences(late)[1:] == [
        "the critical path runs 100 % of the time on rank 1: 100 % compute",
        "to shorten the run, speed up first compute in forward/blocks.1: 95 % of the critical path",
    ]


def test_the_report_adds_up(late):
    found = report(late)
    json.dumps(found)
    (wait,) = found["waits"]
    assert (wait["cause"], wait["culprit"], wait["culprit_site"]) == ("late sender", 1, "ring.py:40")
    assert (wait["seconds"], wait["times"], wait["ranks"]) == (0.03, 2, {"0": 0.03})
    assert found["causes"][0]["share"] == pytest.approx(0.03 / 0.08)
    path = found["critical_path"]
    assert path["seconds"] == pytest.approx(0.04)
    assert path["by_rank"] == {"1": 1.0}
    assert path["by_scope"] == pytest.approx({"forward/blocks.1": 38 / 40, "forward": 2 / 40})
    assert all(sum(path[by].values()) == pytest.approx(1) for by in path if by != "seconds")


def test_a_chain_of_waits_is_followed_to_its_root(tmp_path):
    """0 computes 50 ms, then sends to 1, which passes it to 2, which passes it to 3."""

    def program(world):
        x, r = asarray([1.0]), world.rank
        if r:
            world.recv(x, r - 1)
        else:
            with world.scope("optimizer"):
                world.pause(0.05)
        if r < 3:
            world.send(x, r + 1)

    run(program, 4, network=Network(1e-9, 0.0, 0.0), trace=tmp_path / "t")
    rows = {row["culprit"]: row["behind"] for row in report(read(tmp_path / "t"))["waits"]}
    assert {c: (b["rank"], b["chain"], b["what"]) for c, b in rows.items()} == {
        0: (0, 1, "optimizer"),
        1: (0, 2, "optimizer"),
        2: (0, 3, "optimizer"),
    }
    told = next(line for line in sentences(read(tmp_path / "t")) if line.startswith("rank 3"))
    assert "because it waited itself, through 1 rank between, for rank 0, which computed in optimizer" in told


def test_many_ranks_that_wait_alike_are_one_sentence(tmp_path):
    calls = [[event("barrier", start, 10, algorithm="native", site="a.py:3")] for start in (0, 0, 0, 8)]
    first = sentences(made(tmp_path / "t", *calls))[0]
    assert first == (
        "ranks 0, 1 and 2 each waited 8 ms on average (80 % of their time) for rank 3 to call it, in barrier "
        "native at a.py:3 (3 times in all); meanwhile rank 3 had recorded nothing yet: its first event is "
        "its barrier at a.py:3"
    )


def test_only_one_rank_is_asked_about(tmp_path):
    calls = [[event("barrier", start, 10, algorithm="native")] for start in (0, 4, 8)]
    trace = made(tmp_path / "t", *calls)
    assert sentences(trace, 1)[0].startswith("rank 1 waited 4 ms (67 % of its time) for rank 2")
    assert report(trace, 1)["causes"][0]["share"] == pytest.approx(4 / 6)
    assert sentences(trace, 2)[0] == "rank 2 did not wait for another for as much as 1 % of its time"


def test_without_waiting_it_says_so(tmp_path):
    trace = made(tmp_path / "t", [event("scope", 0, 10, scope="a")], [event("scope", 0, 10, scope="a")])
    assert sentences(trace)[0] == "no rank waited for another for as much as 1 % of its time"


def test_what_cannot_be_known_is_left_open(tmp_path):
    trace = made(tmp_path / "t", [event("recv", 0, 5, peer=1, tag=0, site="a.py:1")], size=2)
    told = sentences(trace)
    assert told[1] == (
        "rank 0 spent 5 ms in recv(source=1) at a.py:1; whether it waited is unknown, because the other side "
        "of the message is not in the trace"
    )
    assert told[2:] == [
        "as far as the trace can tell, the critical path runs 100 % of the time on rank 0: "
        "100 % recv at a.py:1"
    ]
    assert report(trace)["unknown"][0]["seconds"] == 0.005


def test_an_empty_trace_explains_nothing(tmp_path):
    prepare_folder(tmp_path / "t", {"size": 3})
    trace = read(tmp_path / "t")
    assert sentences(trace) == ["the trace holds no events, so there is nothing to explain"]
    assert report(trace)["critical_path"]["by_rank"] == {}


def test_further_reasons_are_counted(tmp_path):
    recvs = [event("recv", 10 * k, 10 * k + 9, peer=1, tag=0, site=f"a.py:{k}") for k in range(12)]
    sends = [event("send", 10 * k + 9, 10 * k + 9, peer=0, tag=0) for k in range(12)]
    told = sentences(made(tmp_path / "t", recvs, sends))
    assert told[8] == "4 further reasons cost 36 ms together"


def test_it_fits_the_terminal(late):
    output = io.StringIO()
    print_why(late, Console(file=output, width=100))
    text = output.getvalue()
    assert max(map(len, text.splitlines())) <= 100
    assert "Waiting, of all ranks" in text and "Critical path" in text and "of it on rank 1 100 %" in text


def test_why_from_the_command_line(late):
    command = ["-m", "mpipar.cli", "trace", "why", str(late.folder)]
    assert json.loads(run_python([*command, "--json"]).stdout)["waits"][0]["culprit"] == 1
    for asked in (["0"], ["--rank", "0"]):
        assert "Waiting of rank 0" in run_python([*command, *asked]).stdout
    wrong = run_python([*command, "7"])
    assert wrong.stderr.strip() == "mpipar: there is no rank 7 in the trace; its ranks are 0 … 1"
