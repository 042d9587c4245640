"""Recording, and reading back whatever a run has left."""

import json
import random
import re
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from mpipar.arrays import asarray
from mpipar.errors import TraceError
from mpipar.trace import Event, Recorder, call_site, pair_messages, prepare_folder, read


def event(recorder, op="send", **more):
    return Event(recorder.begin(), op, 10, 20, "world", **more)


@pytest.fixture
def folder(tmp_path):
    prepare_folder(tmp_path / "trace", {"size": 2})
    return tmp_path / "trace"


def record(folder, rank, *ops, close=True, **options):
    recorder = Recorder(folder, rank, 2, flush_seconds=None, **options)
    recorder.add_group("world", [0, 1])
    for op, peer in ops:
        recorder.add(event(recorder, op, peer=peer, tag=3))
    recorder.close() if close else recorder.flush()
    return recorder


def test_what_was_recorded_is_read_back(folder):
    record(folder, 0, ("send", 1), ("recv", 1))
    record(folder, 1, ("recv", 0), ("send", 0))
    trace = read(folder)
    assert (trace.size, trace.problems, trace.groups) == (2, [], {"world": [0, 1]})
    assert [(r, e.op, e.seq, e.peer, e.tag) for r, e in trace.events()] == [
        (0, "send", 0, 1, 3),
        (0, "recv", 1, 1, 3),
        (1, "recv", 0, 0, 3),
        (1, "send", 1, 0, 3),
    ]
    assert trace.ranks[1].header.rank == 1 and trace.ranks[1].footer.events == 2


def test_messages_are_paired_in_the_order_they_were_sent(folder):
    record(folder, 0, ("send", 1), ("send", 1), ("send", 1))
    record(folder, 1, ("recv", 0), ("irecv", 0))
    pairs = [(s, sent.seq, r, received.seq) for s, sent, r, received in pair_messages(read(folder))]
    assert pairs == [(0, 0, 1, 0), (0, 1, 1, 1)]  # the third was never received


def test_a_killed_rank_leaves_what_it_had_written(folder):
    record(folder, 0, ("send", 1), ("send", 1), close=False)
    file = folder / "rank-0000.jsonl"
    file.write_bytes(file.read_bytes()[:-30])
    trace = read(folder)
    assert len(trace.ranks[0].events) == 1
    assert trace.problems == [
        "rank 0: a last line cut short in rank-0000.jsonl, left out",
        "rank 0 did not end in order: 1 events up to its end",
        "1 of 2 ranks left no file: 1",
    ]


def test_a_line_that_cannot_be_read_is_named_and_the_rest_kept(folder):
    record(folder, 0, ("send", 1))
    file = folder / "rank-0000.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:2], '{"kind": "event"}', *lines[2:], ""]))
    trace = read(folder)
    assert len(trace.ranks[0].events) == 1
    assert trace.problems[0] == "rank 0: line 3 that cannot be read in rank-0000.jsonl, left out"


def test_beyond_the_cap_events_are_counted(folder):
    record(folder, 0, *[("send", 1)] * 5, cap=3)
    trace = read(folder)
    assert len(trace.ranks[0].events) == 3
    assert "rank 0: 2 events beyond the cap were dropped" in trace.problems


def test_the_cap_keeps_what_began_first_with_its_scopes_and_groups(folder):
    recorder = Recorder(folder, 0, 2, flush_seconds=None, cap=4, rows_kept=2)
    for step in range(3):
        with recorder.scope("train", step):
            recorder.add_group(f"world/{step}:0", [0])
            for _ in range(2):
                recorder.add(event(recorder, "recv", scope=recorder.scope_path))
    recorder.close()
    trace = read(folder)
    kept = [(e.seq, e.op, e.scope, e.step) for e in trace.ranks[0].events]
    assert kept == [(0, "scope", "train", 0), (1, "recv", "train", -1), (2, "recv", "train", -1),
                    (3, "scope", "train", 1)]  # fmt: skip
    assert sorted(trace.groups) == ["world/0:0", "world/1:0", "world/2:0"]
    assert trace.ranks[0].footer.events == 4 and trace.ranks[0].footer.dropped == 5


def record_until_it_fails(recorder):
    for _ in range(100):
        recorder.add(event(recorder))
    recorder.flush()
    assert recorder._rows == []  # kept for no one


def test_a_full_disk_ends_the_trace_and_not_the_run(folder, capsys):
    (folder / "rank-0000.jsonl").symlink_to("/dev/full")
    recorder = Recorder(folder, 0, 2, flush_seconds=None, rows_kept=10)
    record_until_it_fails(recorder)
    recorder.close()
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 1
    assert warnings[0].startswith("mpipar: the trace of rank 0 ends here, and the run goes on: ")
    assert "rank-0000.jsonl cannot be written (No space left on device); give --trace" in warnings[0]


def test_events_that_could_not_be_written_are_counted_once_there_is_room(folder, capsys):
    recorder = Recorder(folder, 0, 2, flush_seconds=None)
    recorder.add(event(recorder))
    recorder.flush()
    file, there = folder / "rank-0000.jsonl", folder / "there"
    file.rename(there)
    file.symlink_to("/dev/full")
    record_until_it_fails(recorder)
    file.unlink()
    there.rename(file)
    with open(file, "ab") as half:
        half.write(b'{"kind":"ev')  # what fitted
    recorder.close()
    trace = read(folder)
    assert (trace.ranks[0].footer.events, trace.ranks[0].footer.lost) == (1, 100)
    assert "rank 0: 100 events could not be written" in trace.problems
    assert capsys.readouterr().err.count("mpipar:") == 1


def test_a_folder_that_is_gone_ends_the_trace_and_not_the_run(folder, capsys):
    recorder = Recorder(folder, 0, 2, flush_seconds=None)
    shutil.rmtree(folder)
    record_until_it_fails(recorder)
    recorder.close()
    nowhere = Recorder(folder, 1, 2, flush_seconds=None)  # on a host that does not share it
    record_until_it_fails(nowhere)
    nowhere.close()
    assert re.findall(r"trace of rank (.) .* \((.*)\)", capsys.readouterr().err) == [
        ("0", "No such file or directory"),
        ("1", "No such file or directory"),
    ]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TraceError, match=r"cannot be written \(Not a directory\); name another, or none"):
        prepare_folder(tmp_path / "file" / "trace", {})


KILLED = """
import sys, time
from mpipar.trace import Event, Recorder
recorder = Recorder(sys.argv[1], 0, 1)
print("began", flush=True)
while True:
    for _ in range(100):
        now = time.monotonic_ns()
        recorder.add(Event(recorder.begin(), "send", now, now, "world", 0, 0))
    time.sleep(0.001)
"""


def test_a_rank_killed_at_any_moment_loses_half_a_second_at_most(tmp_path):
    """The three are killed at different moments of their quarter of a second."""
    ranks = []
    for number in range(3):
        prepare_folder(tmp_path / str(number), {"size": 1})
        command = [sys.executable, "-c", KILLED, str(tmp_path / str(number))]
        ranks.append(subprocess.Popen(command, stdout=subprocess.PIPE))
    for rank in ranks:
        assert rank.stdout.readline() == b"began\n"
    killed = []
    for rank in ranks:
        time.sleep(random.uniform(0.3, 0.5))
        killed.append(time.monotonic_ns())
        rank.kill()
        rank.communicate(timeout=10)
    for number, when in enumerate(killed):
        events = read(tmp_path / str(number)).ranks[0].events
        assert [e.seq for e in events] == list(range(len(events)))  # none is missing in between
        assert 0 < when - events[-1].end < 0.5e9


def test_numbers_of_numpy_are_written_as_numbers(folder):
    recorder = Recorder(folder, 0, 2, flush_seconds=None)
    with recorder.scope(3, step=np.int64(4), micro=np.int32(5)):
        recorder.add(event(recorder, tag=np.int64(7)))
    recorder.close()
    message, scope = sorted(read(folder).ranks[0].events, key=lambda e: e.op == "scope")
    assert message.tag == 7 and (scope.scope, scope.step, scope.micro) == ("3", 4, 5)


def test_the_thread_writes_while_the_rank_waits(folder):
    recorder = Recorder(folder, 0, 2, flush_seconds=0.02)
    recorder.add(event(recorder))
    deadline = time.monotonic() + 5
    while (folder / "rank-0000.jsonl").read_bytes().count(b"\n") < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    recorder.close()
    recorder.add(event(recorder))  # not kept
    recorder.close()
    assert len(read(folder).ranks[0].events) == 1


def test_scopes_name_the_events_inside_and_are_events(folder):
    recorder = Recorder(folder, 0, 1, flush_seconds=None)
    with recorder.scope("train", step=4), recorder.scope("forward"):
        assert (recorder.scope_path, recorder.step) == ("train/forward", 4)
    assert (recorder.scope_path, recorder.step) == ("", -1)
    recorder.close()
    assert [(e.op, e.scope, e.step) for e in read(folder).ranks[0].events] == [
        ("scope", "train", 4),
        ("scope", "train/forward", 4),
    ]


def test_values_of_small_arrays_on_request(folder):
    recorder = Recorder(folder, 0, 1, flush_seconds=None, values=True)
    assert recorder.values_of(asarray(np.arange(3.0))) == [0, 1, 2]
    assert recorder.values_of(asarray(np.arange(65.0))) is None
    assert recorder.values_of(asarray(np.array([[True], [False]]))) == [True, False]
    assert recorder.values_of(asarray(np.float32([np.nan, np.inf, -np.inf, 1]))) == ["nan", "inf", "-inf", 1]
    recorder.values = False
    assert recorder.values_of(asarray(np.arange(3.0))) is None
    recorder.close()


def test_call_sites_are_relative(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("import sys\nframe = sys._getframe()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import mine

    assert call_site(mine.frame).startswith("mine.py:")
    here = sys._getframe()
    assert call_site(here) == f"tests/trace/test_recorder.py:{here.f_lineno}"


def test_a_wrong_folder_is_named_and_nothing_is_deleted(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(TraceError, match=r"is no trace folder \(it holds thesis.tex\)"):
        prepare_folder(tmp_path, {})
    assert (tmp_path / "thesis.tex").exists()
    with pytest.raises(TraceError, match="is a file; name another folder"):
        prepare_folder(tmp_path / "thesis.tex", {})


def test_an_old_trace_is_replaced(folder):
    record(folder, 0, ("send", 1))
    prepare_folder(folder, {"size": 1})
    assert [file.name for file in folder.iterdir()] == ["meta.json"]


@pytest.mark.parametrize(
    ("meta", "text"),
    [
        ("", "is damaged or foreign"),
        ("[]", "is damaged or foreign"),
        ('{"size": 2}', "is damaged or foreign"),
        ('{"format": 1, "size": "x"}', "size 'x' is no count of ranks; record the run again"),
        ('{"format": 1, "size": -3}', "size -3 is no count of ranks"),
        ('{"format": 1, "size": null}', "size None is no count of ranks"),
        ('{"format": 99}', "has trace format 99, this mpipar reads up to 1; upgrade mpipar"),
        (None, "holds no meta.json"),
    ],
)
def test_a_folder_that_is_no_trace(tmp_path, meta, text):
    if meta is not None:
        (tmp_path / "meta.json").write_text(meta)
    with pytest.raises(TraceError, match=text):
        read(tmp_path)
    with pytest.raises(TraceError, match="there is no trace folder"):
        read(tmp_path / "nowhere")


def test_a_folder_in_the_place_of_a_ranks_file(folder):
    record(folder, 0, ("send", 1))
    (folder / "rank-0001.jsonl").mkdir()
    (folder / "rank-²³.jsonl").write_text("")  # digits, but no number
    assert read(folder).problems == [
        "rank-0001.jsonl cannot be read (Is a directory), left out",
        "rank-²³.jsonl is no rank's file, left out",
        "1 of 2 ranks left no file: 1",
    ]


def test_a_file_of_another_format_in_the_folder(folder):
    (folder / "rank-0000.jsonl").write_text("PK\x03\x04 not ours\n")
    assert "rank 0: line 1 that cannot be read in rank-0000.jsonl, left out" in read(folder).problems
    (folder / "rank-notes.jsonl").write_text(json.dumps({}))
    assert any("rank-notes.jsonl is no rank's file" in problem for problem in read(folder).problems)
