"""What a script reads from its command line, and what rank 0 prints."""

import sys

import pytest
from ranks import run_python, run_ranks

import mpipar as mp
from mpipar.errors import OptionError
from mpipar.trace import read
from mpipar.view import own_command

SCRIPT = """
import numpy as np, mpipar as mp
args = mp.arguments("Why?", trace="traces/mine", epochs=3)
world = mp.world(trace=args.trace)
world.allreduce(np.ones(2), algorithm="ring")
screen = mp.view.console(world.rank)
screen.print(args.description)
mp.view.report(world, screen)
"""


def parse(monkeypatch, command, **defaults):
    monkeypatch.setattr(sys, "argv", ["script.py", *command.split()])
    return mp.arguments("Why? 100 %", **defaults)


def test_an_option_for_each_keyword_of_its_defaults_type(monkeypatch):
    args = parse(monkeypatch, "--lr 1 --data-name x", epochs=3, lr=0.5, data_name="digits")
    assert (args.epochs, args.lr, args.data_name, args.values) == (3, 1.0, "x", False)
    assert args.description == "Why? 100 %"


@pytest.mark.parametrize(
    ("command", "shuffle", "fast"),
    [("", True, False), ("--no-shuffle --fast", False, True), ("--shuffle --no-fast", True, False)],
)
def test_true_and_false_are_flags(monkeypatch, command, shuffle, fast):
    args = parse(monkeypatch, command, shuffle=True, fast=False)
    assert (args.shuffle, args.fast) == (shuffle, fast)


def test_a_tuple_is_a_choice(monkeypatch, capsys):
    choice = ("none", "receive")
    assert parse(monkeypatch, "", mistake=choice).mistake == "none"
    assert parse(monkeypatch, "--mistake receive", mistake=choice).mistake == "receive"
    with pytest.raises(SystemExit):
        parse(monkeypatch, "--mistake recieve", mistake=choice)
    assert "argument --mistake: invalid choice: 'recieve'" in capsys.readouterr().err


@pytest.mark.parametrize("default", [None, [1, 2], ()])
def test_a_default_without_a_type_is_named(monkeypatch, default):
    with pytest.raises(OptionError, match=r"arguments: max_len=.* does not tell the type of --max-len; give"):
        parse(monkeypatch, "", max_len=default)


def test_help_shows_the_defaults(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        parse(monkeypatch, "--help", rate=0.5, unit="%")
    shown = capsys.readouterr().out
    assert "Why? 100 %" in shown and "default 0.5" in shown and "default %" in shown


FROM_SCRIPT, FROM_VARIABLE, FROM_LINE = "traces/mine", "traces/variable", "traces/line"


@pytest.mark.parametrize(
    ("variable", "line", "recorded"),
    [
        (None, None, FROM_SCRIPT),
        (None, FROM_LINE, FROM_LINE),
        (None, "0", None),
        (FROM_VARIABLE, None, FROM_VARIABLE),
        (FROM_VARIABLE, FROM_LINE, FROM_LINE),
        (FROM_VARIABLE, "0", None),
        (FROM_VARIABLE, "off", None),
        ("0", None, None),
        ("0", FROM_LINE, FROM_LINE),
    ],
)
@pytest.mark.parametrize("virtual", [False, True])
def test_the_command_line_wins_then_the_variable_then_the_script(virtual, variable, line, recorded, tmp_path):
    program = ["-m", "mpipar.cli", "sim", "-n", "2"] if virtual else []
    folders = lambda name: name if name in (None, "0", "off") else str(tmp_path / name)  # noqa: E731
    (tmp_path / "script.py").write_text(SCRIPT.replace(FROM_SCRIPT, str(tmp_path / FROM_SCRIPT)))
    arguments = [] if line is None else ["--trace", folders(line)]
    environment = {} if variable is None else {"MPIPAR_TRACE": folders(variable)}
    run = run_python([*program, str(tmp_path / "script.py"), *arguments], **environment)
    assert run.returncode == 0, run.stderr
    written = [folder.relative_to(tmp_path).as_posix() for folder in tmp_path.glob("traces/*")]
    assert written == ([] if recorded is None else [recorded])
    if recorded is None:
        assert "no trace was recorded" in run.stdout


@pytest.mark.parametrize(
    ("trace", "variable", "recorded"),
    [("False", None, False), ("None", None, False), ("'{folder}'", "0", False), ("False", "{folder}", True)],
)
def test_a_script_without_arguments(trace, variable, recorded, tmp_path):
    folder = str(tmp_path / "trace")
    code = f"import mpipar; print(mpipar.world(trace={trace.format(folder=folder)}).recorder)"
    environment = {} if variable is None else {"MPIPAR_TRACE": variable.format(folder=folder)}
    run = run_python(["-c", code], **environment)
    assert (tmp_path / "trace").exists() == recorded == (run.stdout != "None\n"), run.stderr


def test_trace_true_names_no_folder():
    run = run_python(["-c", "import mpipar; mpipar.world(trace=True)"])
    assert run.stderr == "mpipar: trace=True names no folder; give one, as in world(trace='traces/mine')\n"


def test_names_of_folders_are_printed_as_they_are(tmp_path):
    """Also with brackets, a smile, and longer than a line."""
    folder = tmp_path / "[bold]:smile:[/]" / ("long" * 30)
    (tmp_path / "script.py").write_text(SCRIPT)
    run = run_ranks(2, [str(tmp_path / "script.py"), "--trace", str(folder)])
    assert run.returncode == 0, run.stderr
    assert f"the trace lies in {folder}; to see more of it:\n" in run.stdout
    again = run.stdout.splitlines()[-3:]
    assert again == [own_command("trace", what, str(folder)) for what in ("summary", "why", "html")]
    (folder / "rank-[red]1.jsonl").write_text("")
    summary = run_python(["-m", "mpipar.cli", "trace", "summary", str(folder)])
    assert "note: rank-[red]1.jsonl is no rank's file" in summary.stdout
    assert read(folder).size == 2


def executable(file):
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    return str(file)


def test_the_command_that_is_printed_works_where_the_user_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "executable", executable(tmp_path / ".venv" / "bin" / "python"))
    assert own_command("doctor") == ".venv/bin/python -m mpipar.cli doctor"
    executable(tmp_path / ".venv" / "bin" / "mpipar")
    assert own_command("trace", "summary", "my traces") == ".venv/bin/mpipar trace summary 'my traces'"
    executable(tmp_path / "bin" / "mpipar")  # another environment's
    assert own_command("doctor") == ".venv/bin/mpipar doctor"
    monkeypatch.setenv("PATH", str(tmp_path / ".venv" / "bin"))
    assert own_command("doctor") == "mpipar doctor"
    monkeypatch.setenv("PATH", "")
    monkeypatch.chdir(tmp_path / "bin")
    assert own_command("doctor") == f"{tmp_path}/.venv/bin/mpipar doctor"
    monkeypatch.chdir(tmp_path / ".venv" / "bin")  # where a bare name would be looked for on PATH
    assert own_command("doctor") == f"{tmp_path}/.venv/bin/mpipar doctor"
