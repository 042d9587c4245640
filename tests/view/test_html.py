"""The page as text: self-contained, safe against any text of a trace, small, and true to the trace."""

import json
import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from made_traces import event, long_ring, made

from mpipar.cli.trace import trace_html
from mpipar.comm.virtual import run
from mpipar.errors import TraceError
from mpipar.trace import pair_messages, read
from mpipar.view import page_data as page_data_module
from mpipar.view.html import SCRIPTS, VIEWER, page, write_html
from mpipar.view.page_data import FIELDS, page_data

READS_TEXT_AS_CODE = r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|new Function"
HOSTILE = "</script><script>pwned = 1</script><!--<img src=x onerror=alert(1)> {{data}}\u2028\udcff"


def training(world):
    for step in range(3):
        with world.scope("forward", step):
            world.pause(1e-5)
        world.allreduce(np.full(8, 2.0**world.rank), algorithm="ring")
    right, left = (world.rank + 1) % world.size, (world.rank - 1) % world.size
    request = world.irecv(np.empty(4), left, tag=3)
    world.isend(np.ones(4), right, tag=3).wait()
    request.wait()
    world.bcast(np.ones(2), root=1, algorithm="binomial")


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("html") / "t"
    run(training, 4, trace=folder, values=True)
    return read(folder)


def data_of(text):
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.S)[1])


def test_nothing_is_fetched_and_only_our_scripts_run(trace):
    text = page(trace)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|\bsrc=|<link|@import|url\(", text)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "unsafe" not in policy
    bodies = re.findall(r"<script>(.*?)</script>", text, re.S) + re.findall(
        r"<style>(.*?)</style>", text, re.S
    )
    hashes = [f"'sha256-{b64encode(sha256(body.encode()).digest()).decode()}'" for body in bodies]
    assert len(bodies) == len(SCRIPTS) + 1 and all(policy.count(h) == 1 for h in hashes)


def test_every_file_of_the_viewer_is_used_and_says_what_it_is():
    names = {file.name for file in VIEWER.iterdir()}
    assert names == {"page.html", "style.css"} | {f"{name}.js" for name in SCRIPTS}
    for name in SCRIPTS:
        text = (VIEWER / f"{name}.js").read_text(encoding="utf-8")
        assert text.startswith("// ") and '\n"use strict";\n' in text, name
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|new Function", text
        ), name
    assert sum(file.stat().st_size for file in VIEWER.iterdir()) < 1 << 20


def test_the_viewer_is_installed_with_the_package():
    setup = (VIEWER.parents[2] / "setup.cfg").read_text(encoding="utf-8")
    assert "mpipar.view = viewer/*\n" in setup


def in_order(trace, rank):
    return sorted(trace.ranks[rank].events, key=lambda event: (event.start, event.seq))


def unpacked(data, columns, begin):
    """The rows of one rank, as Event has them; the reverse of what page_data.py does."""
    rows, time, step = [], begin, -1
    for k, kind in enumerate(columns["kind"]):
        row = dict(zip(FIELDS, data["kinds"][kind], strict=True))
        row = {n: x if n in ("bytes", "shape", "micro") else data["strings"][x] for n, x in row.items()}
        time, step = time + columns["start"][k], step + columns["step"][k]
        row |= {"start": time, "end": time + columns["length"][k], "step": step}
        row |= {"shape": tuple(row["shape"]), "values": columns["values"].get(str(k))}
        rows.append({**row, "peer": columns["peer"][k], "tag": columns["tag"][k]})
    return rows


def test_columns_hold_every_event(trace):
    data = data_of(page(trace))
    begin = min(event.start for _, event in trace.events())
    for rank, columns in zip(data["ranks"], data["events"], strict=True):
        found, events = unpacked(data, columns, begin), in_order(trace, rank)
        assert found == [{name: getattr(event, name) for name in found[0]} for event in events]
        parents = [events[k - up].seq if up else -1 for k, up in enumerate(columns["parent"])]
        assert parents == [event.parent for event in events]


def test_pairs_and_states(trace):
    data = page_data(trace)
    names = [(rank, event.seq) for rank in data["ranks"] for event in in_order(trace, rank)]
    found = {(names[a], names[b]) for a, b in zip(*data["pairs"], strict=True)}
    assert found == {((s, sent.seq), (r, received.seq)) for s, sent, r, received in pair_messages(trace)}
    for states, rank in zip(data["states"], data["ranks"], strict=True):
        own = trace.ranks[rank].events
        assert sum(states["length"]) == max(e.end for e in own) - min(e.start for e in own)


def test_replay_is_kept_as_what_changes(trace):
    """Applied one after the other, the changes of a ring end with everybody's sum everywhere."""
    data = page_data(trace)
    calls = [call for call in data["calls"] if call["operation"] == "allreduce"]
    assert [call["times"] for call in calls] == [1, 1, 1]  # with numbers no two calls are alike
    replay = data["replays"]["played"][calls[0]["replay"]]
    values = [row[:] for row in replay["values"]]
    for frame in replay["frames"]:
        for rank, chunk, _, numbers in frame["changes"]:
            values[rank][chunk] = numbers
    assert values == [[[15.0, 15.0]] * 4] * 4
    assert calls[0]["bound"] == 2 * 64 * 3 / 4


def test_more_replays_than_there_is_room_for_are_counted(trace, monkeypatch):
    monkeypatch.setattr(page_data_module, "MOST_REPLAYS", 1)
    data = page_data(trace)
    assert len(data["replays"]["played"]) == 1 and data["replays"]["left_out"] == len(data["calls"]) - 1
    monkeypatch.setattr(page_data_module, "REPLAY_CHARACTERS", 10)
    assert page_data(trace)["replays"] == {"played": [], "left_out": len(data["calls"])}


def test_calls_alike_are_one_row(tmp_path):
    run(lambda world: [world.barrier() for _ in range(5)], 2, trace=tmp_path / "t")
    (call,) = page_data(read(tmp_path / "t"))["calls"]
    assert (call["times"], len(call["events"])) == (5, 10)


def test_texts_of_a_trace_are_never_html(tmp_path):
    name = HOSTILE.replace("\udcff", "")  # which no file of ours can hold
    trace = made(tmp_path / "t", [event("scope", 0, 9, scope=name, site=f"{name}:1", algorithm=name)])
    trace.meta["program"] = [HOSTILE]
    trace.problems.append(HOSTILE)
    trace.folder = tmp_path / HOSTILE.replace("/", "")
    write_html(trace, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>pwned" not in text and "<img" not in text and "<!--" not in text
    assert text.count("</script>") == len(SCRIPTS) + 1
    data = data_of(text)
    assert data["program"] == [HOSTILE] and name in data["strings"] and HOSTILE in data["problems"]


def test_source_lines_are_embedded(trace):
    data = page_data(trace)
    (site,) = [
        s for s in data["sources"] if s.startswith("mpipar/comm/collectives/ring.py") and "reduce" not in s
    ][:1]
    first, lines, _ = data["sources"][site]
    line = int(site.rpartition(":")[2])
    whole = (VIEWER.parents[1] / "comm/collectives/ring.py").read_text(encoding="utf-8").splitlines()
    assert lines == whole[first - 1 : first - 1 + len(lines)] and "comm.sendrecv(" in lines[line - first]


def test_only_python_files_are_embedded(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("a secret\n")
    trace = made(tmp_path / "t", [event("barrier", 0, 1, site=f"{secret}:1")])
    assert page_data(trace)["sources"] == {} and "a secret" not in page(trace)


@pytest.mark.parametrize(("year", "note"), [(2001, True), (2999, False)])
def test_a_file_changed_since_the_run_is_told(tmp_path, year, note):
    (tmp_path / "train.py").write_text("one\ntwo\n")
    trace = made(tmp_path / "t", [event("barrier", 0, 1, site=f"{tmp_path / 'train.py'}:2")])
    trace.meta["created"] = f"{year}-01-01T00:00:00+0000"
    ((_, lines, said),) = page_data(trace)["sources"].values()
    assert lines == ["one", "two"] and bool(said) == note


def test_memory_is_kept_apart(tmp_path):
    readings = [event("memory", at, at, bytes=held, algorithm="host") for at, held in ((1, 100), (4, 50))]
    data = page_data(made(tmp_path / "t", [readings[0], event("barrier", 2, 3), readings[1]]))
    assert data["memory"] == [{"host": [[0, 3_000_000], [100, 50]]}]
    assert len(data["events"][0]["kind"]) == 1


def test_an_empty_trace_and_missing_ranks(tmp_path):
    assert data_of(page(made(tmp_path / "empty", [])))["events"][0]["kind"] == []
    data = page_data(made(tmp_path / "t", [event("barrier", 5, 6)], size=3))
    assert (data["ranks"], data["size"], data["problems"]) == ([0], 3, ["2 of 3 ranks left no file: 1, 2"])


def test_fifty_thousand_events_stay_small(tmp_path):
    """Measured: 1.5 MB, 30 bytes an event with its message and its state."""
    text = page(made(tmp_path / "t", *long_ring(4, 6250)))
    assert sum(len(columns["kind"]) for columns in data_of(text)["events"]) == 50_000
    assert len(text) < 6e6


def test_the_command(tmp_path, capsys, monkeypatch):
    run(training, 2, trace=tmp_path / "t")
    monkeypatch.chdir(tmp_path)
    trace_html(Path("t"))
    assert re.fullmatch(r"t\.html: \d+\.\d KiB; open it in a browser\n", capsys.readouterr().out)
    assert (tmp_path / "t.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    trace_html(Path("t"), Path("other.html"))
    assert (tmp_path / "other.html").exists()
    with pytest.raises(TraceError, match=r"cannot write .*page\.html \(No such file or directory\)"):
        write_html(read("t"), tmp_path / "no" / "page.html")
