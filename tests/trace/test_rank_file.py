"""A rank's file that is cut short, foreign, newer or another rank's: what is there is read."""

import json
import os

import pytest

from mpipar.trace import Event, Recorder, prepare_folder, read


@pytest.fixture
def folder(tmp_path):
    """A trace of two ranks with one message."""
    prepare_folder(tmp_path / "trace", {"size": 2})
    for rank, op in ((0, "send"), (1, "recv")):
        recorder = Recorder(tmp_path / "trace", rank, 2, flush_seconds=None)
        recorder.add_group("world", [0, 1])
        recorder.add(Event(recorder.begin(), op, 10, 20, "world", 1 - rank, 3))
        recorder.close()
    return tmp_path / "trace"


def ops(folder):
    return [(rank, event.op) for rank, event in read(folder).events()]


def append(folder, text, rank=0):
    with open(folder / f"rank-{rank:04}.jsonl", "ab") as file:
        file.write(text if isinstance(text, bytes) else text.encode())


def change_header(folder, rank, **values):
    file = folder / f"rank-{rank:04}.jsonl"
    header, rest = file.read_text().split("\n", 1)
    file.write_text(json.dumps({**json.loads(header), **values}) + "\n" + rest)


WHOLE = [(0, "send"), (1, "recv")]


def test_rows_and_fields_of_a_newer_version(folder):
    append(folder, '{"kind": "weather", "is": "fine"}\n{"kind": "weather"}\n{"kind": "tide"}\n')
    append(folder, '{"kind":"event","seq":1,"op":"send","start":1,"end":2,"peer":1,"colour":"red"}\n')
    assert read(folder).problems == [
        "rank 0: 2 rows of a kind that this mpipar does not know (weather), left out; upgrade mpipar",
        "rank 0: a row of a kind that this mpipar does not know (tide), left out; upgrade mpipar",
    ]
    assert ops(folder) == [(0, "send"), (0, "send"), (1, "recv")]


def test_a_newer_format_of_one_rank(folder):
    change_header(folder, 1, format=2)
    assert read(folder).problems == [
        "rank 1 wrote trace format 2, and this mpipar reads up to 1: what it cannot read is missing; "
        "upgrade mpipar"
    ]
    assert ops(folder) == WHOLE


def test_another_size_in_a_header(folder):
    change_header(folder, 1, size=4)
    assert read(folder).problems == ["rank 1 was one of 4 ranks by its own word, and one of 2 by meta.json's"]
    assert ops(folder) == WHOLE


def test_files_of_other_ranks(folder):
    first, second = folder / "rank-0000.jsonl", folder / "rank-0001.jsonl"
    (folder / "rank-0.jsonl").write_bytes(first.read_bytes())
    (folder / "rank-0007.jsonl").write_bytes(first.read_bytes().replace(b'"rank":0', b'"rank":7'))
    second.write_bytes(first.read_bytes())
    assert read(folder).problems == [
        "rank-0.jsonl is no rank's file, left out",
        "rank-0001.jsonl was written by rank 0, left out",
        "rank-0007.jsonl is of no rank of this run, which had 2, left out",
        "1 of 2 ranks left no file: 1",
    ]
    assert ops(folder) == WHOLE[:1]


@pytest.mark.parametrize(
    "damage", [b"\x00" * 40, b"\xff\xfe", b"[1, 2]", b'{"kind": 5}', b'"kind"', b"[" * 100_000]
)
def test_damaged_lines_are_counted_and_the_first_is_named(folder, damage):
    append(folder, damage + b"\n" + damage + b"\n\n" + damage)
    assert read(folder).problems == [
        "rank 0: a last line cut short in rank-0000.jsonl, left out",
        "rank 0: 2 lines that cannot be read in rank-0000.jsonl, the first of them line 5, left out",
    ]
    assert ops(folder) == WHOLE


def test_every_place_where_a_file_can_be_cut(folder):
    content = (folder / "rank-0000.jsonl").read_bytes()
    for length in [*range(0, len(content) - 2, 5), len(content) - 2, len(content) - 1]:
        (folder / "rank-0000.jsonl").write_bytes(content[:length])
        trace = read(folder)
        assert len(trace.ranks[0].events) in (0, 1)
        footer_is_whole = trace.ranks[0].footer is not None
        assert bool(trace.problems) != footer_is_whole and footer_is_whole == (length == len(content) - 1)


def test_a_rank_that_wrote_nothing_is_there_and_a_name_too_long_is_not(folder):
    (folder / "rank-0001.jsonl").write_bytes(b"")
    (folder / f"rank-{10**30}.jsonl").write_bytes(b"")
    trace = read(folder)
    assert trace.problems == [
        "rank 1 did not end in order: 0 events up to its end",
        f"rank-{10**30}.jsonl is no rank's file, left out",
    ]
    assert sorted(trace.ranks) == [0, 1]


def test_a_file_that_may_not_be_read(folder):
    os.remove(folder / "rank-0001.jsonl")
    os.symlink(folder / "nowhere", folder / "rank-0001.jsonl")
    assert read(folder).problems[0] == "rank-0001.jsonl cannot be read (No such file or directory), left out"
