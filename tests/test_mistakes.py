"""Wrong programs are told what is wrong, correct ones are left alone: tests/mistakes, judged."""

import ast
import io
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ranks import run_python, run_ranks
from rich.console import Console

from mpipar.arrays import BACKEND
from mpipar.comm.launch import NEVER_EXECUTED

sys.path.insert(0, str(Path(__file__).parent / "mistakes"))
from score import (
    JOBS,
    LEVELS,
    LIMIT,
    Outcome,
    Program,
    Report,
    print_score,
    read_program,
    read_programs,
    read_reports,
    run_program,
    settings_of,
    simulated,
)

PROGRAMS = read_programs()
ENDINGS = ("ended rank", "rank raised", "rank exited", "rank killed")
# correct programs that are not about how a rank ends: those of one size run in one job
TOGETHER = [
    p for p in PROGRAMS if not p.wrong and p.mode == "watch" and p.group.replace("_", " ") not in ENDINGS
]
CLASSES = {
    *("receive cycle", "send ring", "missing collective", "ended rank", "any-source knot"),
    *("wrong tag", "wrong communicator", "wrong peer", "buffered sends"),
    *("different collectives", "different roots", "different ops", "different dtypes"),
    *("different counts", "different algorithms"),
    *("message dtype", "message size", "invalid argument", "message never received", "message race"),
    *("request never completed", "request started twice", "buffer changed"),
    *("rank raised", "rank exited", "rank killed"),
}

numpy_only = pytest.mark.skipif(BACKEND != "numpy", reason="the programs use NumPy, whatever the backend is")


def judge(outcomes, title, recall=1.0, line=1.0):
    page = io.StringIO()
    total = print_score(outcomes, Console(file=page, width=100), title)
    print(page.getvalue())  # pytest shows it when the test fails
    assert total.failed == 0
    assert total.precision == 1.0
    assert total.recall >= recall
    assert total.line >= line


@numpy_only
def test_mistakes_are_told_under_mpirun():
    # many jobs are cut short and could not save what was covered; without it they start faster
    off = {"COVERAGE_PROCESS_START": "", "COVERAGE_PROCESS_CONFIG": ""}
    alone = [program for program in PROGRAMS if program not in TOGETHER]
    with ThreadPoolExecutor(JOBS) as pool:
        outcomes = list(pool.map(lambda program: run_program(program, **off), alone))
    # a rank that is killed says no line, and where it is busy a report may come too late
    judge(outcomes, "Mistakes under mpirun", recall=0.98, line=0.95)


ONE_AFTER_THE_OTHER = """
import runpy, sys
from mpipar.comm.world import _world, world as start
world = start()
for path in sys.argv[1:]:
    _world.set(world.split(0))  # messages of two programs never meet
    runpy.run_path(path, run_name="__main__")
    world.barrier()
    print(world.rank, path, flush=True)
"""


@numpy_only
@pytest.mark.parametrize("size", [2, 3, 4])
def test_correct_programs_one_after_the_other_are_left_alone(size):
    paths = [str(program.path) for program in TOGETHER if program.ranks == size]
    run = run_ranks(size, ["-c", ONE_AFTER_THE_OTHER, *paths], MPIPAR_TRACE="0")
    assert (run.returncode, run.stderr) == (0, ""), run.stdout
    assert sorted(run.stdout.splitlines()) == sorted(
        f"{rank} {path}" for rank in range(size) for path in paths
    )


def simulate(program):
    run = run_python(simulated(program), limit=LIMIT, **settings_of(program))
    return Outcome(program, run.returncode, 0.0, None, run.stderr, read_reports(run.stderr, program.path))


@numpy_only
def test_mistakes_are_told_on_virtual_ranks():
    chosen = [program for program in PROGRAMS if program.needs != "mpirun"]
    with ThreadPoolExecutor(JOBS) as pool:  # some of them sleep
        judge(list(pool.map(simulate, chosen)), "Mistakes on virtual ranks")


def test_there_are_enough_programs_of_every_class():
    wrong = [program for program in PROGRAMS if program.wrong]
    assert len(PROGRAMS) >= 88 and 0.4 < len(wrong) / len(PROGRAMS) < 0.6
    for kind in CLASSES:
        assert sum(program.kind == kind for program in wrong) >= 2, kind
    assert LEVELS.keys() <= CLASSES


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_headers_name_a_class_and_lines_that_call(program):
    assert program.mode in ("watch", "strict") and program.needs in ("", "mpirun")
    assert 2 <= program.ranks <= 4
    assert program.wrong == ("_wrong_" in program.name) == bool(program.fault)
    if not program.wrong:
        return
    assert program.kind in CLASSES
    assert program.group == program.kind.replace(" ", "_").replace("-", "_")
    assert program.path.with_name(program.path.name.replace("_wrong_", "_right_")).exists()
    anything = program.kind == "rank raised"
    starts = ast.stmt if anything else (ast.Call, ast.Raise)
    tree = ast.parse(program.path.read_text())
    calls = {node.lineno for node in ast.walk(tree) if isinstance(node, starts)}
    for rank, line in program.fault:
        assert 0 <= rank < program.ranks and line in calls, (rank, line)


def test_a_verdict_is_read():
    text = (
        "noise of the launcher\nmpipar: receive cycle\n"
        "  at fault: rank 0 at /tmp/p_wrong_1.py:12, rank 1 at p_wrong_1.py:15\n"
        "  rank 0  waits in recv(source=1, tag=7) at p_wrong_1.py:12\n  0 → 1 → 0\n  remedy: send first\n"
        "mpipar note: message race\n  at fault: rank 2\n"
    )
    assert read_reports(text, Path("p_wrong_1.py")) == [
        Report("receive cycle", "error", frozenset({(0, 12), (1, 15)})),
        Report("message race", "note", frozenset({(2, 0)})),
    ]


def test_a_traceback_is_a_report_unless_a_verdict_names_its_rank():
    frames = '  File "/x/p.py", line 9, in <module>\n  File "/y/lib.py", line 3, in f\n'
    trace = f"rank 1 of 3 failed:\nTraceback (most recent call last):\n{frames}"
    raised = Report("rank raised", "error", frozenset({(1, 9)}))
    assert read_reports(trace + "ValueError: no\n", Path("p.py")) == [raised]
    verdict = "mpipar: invalid argument\n  at fault: rank 1 at p.py:9\n"
    assert [report.kind for report in read_reports(verdict + trace, Path("p.py"))] == ["invalid argument"]


def test_a_header_that_cannot_be_read_is_refused(tmp_path):
    path = tmp_path / "odd_wrong_1.py"
    path.write_text("# class: wrong tag | rank: 2\n")
    with pytest.raises(ValueError, match="header"):
        read_program(path)
    path.write_text("# class: wrong tag | ranks: 2 | fault: any 0@14 1@17 | mode: strict | needs: mpirun\n")
    expected = frozenset({(0, 14), (1, 17)})
    assert read_program(path) == Program(path, "wrong tag", 2, expected, True, "strict", "mpirun")


def test_a_program_that_mpirun_could_not_execute_is_run_again(monkeypatch):
    wrong = next(program for program in PROGRAMS if program.wrong)
    left = [Outcome(wrong, status, 0.0, None, "no such file") for status in (NEVER_EXECUTED, 1)]
    monkeypatch.setattr("score._run_once", lambda *_, **__: left.pop(0))
    assert run_program(wrong).complaint == "no report, status 1, printed 'no such file'"
