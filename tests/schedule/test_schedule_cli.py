"""`mpipar schedule`."""

import json

import pytest
import typer
from ranks import run_python

from mpipar.cli.schedule import app
from mpipar.errors import OptionError


def schedule(*arguments):
    """The exit status."""
    return typer.main.get_command(app)(list(map(str, arguments)), standalone_mode=False) or 0


def test_draw_shows_the_grid_and_what_it_costs(capsys):
    assert schedule("draw", "1f1b", "--ranks", 2, "--micro-batches", 2) == 0
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "step    0  1  2  3  4  5",
        "rank 0  F0 F1 ·  B0 ·  B1",
        "rank 1  ·  F0 B0 F1 B1 ·",
        "cost 6 from a rank's first start to its last end, bubble rate 0.3333 (formula: 0.3333)",
        "activations held at most, by rank: 2 1",
        "messages: 4",
        "with blocking sends it would deadlock: rank 0 at 0SEND_F1, rank 1 at 1SEND_B0",
    ]


@pytest.mark.parametrize("name", ["naive", "gpipe", "1f1b", "interleaved", "zb-h1", "zb-h2"])
def test_the_formula_is_the_measured_rate(name, capsys):
    for micros in (4, 12):
        schedule("draw", name, "-n", 4, "-m", micros, "--json")
        facts = json.loads(capsys.readouterr().out)
        assert facts["bubble_rate"] == pytest.approx(facts["bubble_rate_formula"])
        assert len(facts["actions"]) == facts["ranks"] == 4


def test_draw_writes_what_the_name_says_and_check_reads_it(capsys, tmp_path):
    for suffix in ("svg", "csv", "txt"):
        schedule("draw", "zb-h1", "-n", 3, "-m", 4, "-o", tmp_path / f"mine.{suffix}")
    assert (tmp_path / "mine.svg").read_text().startswith("<svg")
    capsys.readouterr()
    for suffix in ("csv", "txt"):
        assert schedule("check", tmp_path / f"mine.{suffix}") == 0
        said = capsys.readouterr().out
        assert "complete, in order, no deadlock; 3 ranks, 3 stages, 4 micro-batches" in said
        assert "activations held at most, by rank: 3 3 3" in said
    schedule("draw", tmp_path / "mine.csv", "--times", "1,1,1")
    assert "bubble rate 0.1429\n" in capsys.readouterr().out  # 2/(12 + 2), and no formula


def test_check_marks_the_fault_and_ends_with_status_1(capsys, tmp_path):
    table = tmp_path / "mine.txt"
    table.write_text("F0 B0 F1 B1\nF0 F1 B0 B1\n")
    assert schedule("check", table) == 1
    said = capsys.readouterr().out
    assert "rank 1  ·  F0 │  F1 B0 B1\n                 ^^\n" in said
    assert "deadlock: rank 0 waits at 0B0 for 1B0, which rank 1 runs after 1F1;" in said
    assert schedule("check", table, "--json") == 1
    assert json.loads(capsys.readouterr().out)["marks"] == [[0, 1], [1, 1]]
    assert schedule("check", "gpipe", "-n", 2, "-m", 3, "--activations", 2) == 1
    assert "rank 0 holds 3 activations at 0F2" in capsys.readouterr().out
    assert schedule("check", "gpipe", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"fault": None, "marks": [], "peaks": [8] * 4}


def test_time_compares(capsys):
    options = ("-n", 8, "-m", 24, "--times", "18.522,18.086,9.337,0.601")
    schedule("time", "1f1b", "zb-h1", "zb-h2", *options)
    shown = [
        line.split()[:4] for line in capsys.readouterr().out.splitlines() if "b-h" in line or "1f1b" in line
    ]
    assert [row[2:] for row in shown] == [["0.2431", "8"], ["0.1585", "8"], ["0.1083", "15"]]
    assert schedule("time", "1f1b", "interleaved", "--virtual", 3, "-n", 2) == 0
    capsys.readouterr()
    schedule("time", "naive", "-n", 2, "-m", 1, "--json")
    assert json.loads(capsys.readouterr().out)[0]["cost"] == 6


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("draw", "nothing"), "there is no schedule and no file nothing; use naive, gpipe"),
        (("check", __file__, "-n", 2), "is a table, which tells its own ranks and micro-batches; leave"),
        (("draw", "1f1b", "--times", "1,x"), "--times 1,x: give TF,TB,TW or TF,TB,TW,Tcomm"),
        (("draw", "1f1b", "--times", "1,2"), "--times 1,2: give TF,TB,TW or"),
        (("draw", "1f1b", "-o", "a.png"), "-o a.png: the name must end in one of .svg, .csv, .txt"),
        (("draw", "1f1b", "-o", "/nowhere/a.svg"), "cannot be written: No such file or directory; name"),
    ],
)
def test_a_mistake_is_named(arguments, text):
    with pytest.raises(OptionError, match=text):
        schedule(*arguments)


def test_from_the_command_line(tmp_path):
    table = tmp_path / "mine.txt"
    table.write_text("F0 B0 F1 B1\nF0 F1 B0 B1\n")
    run = run_python(["-m", "mpipar.cli", "schedule", "check", str(table)])
    assert (run.returncode, run.stderr) == (1, "") and "deadlock" in run.stdout
    run = run_python(["-m", "mpipar.cli", "schedule", "draw", str(table)])
    assert run.returncode == 2 and run.stdout == "" and run.stderr.count("\n") == 1
