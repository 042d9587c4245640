"""How well mistakes are told: runs the small programs of this folder and judges the verdicts.

Each program's first line says what to expect, and is read here:

    # class: receive cycle | ranks: 3 | fault: 0@12 1@15 | mode: watch
    # class: wrong tag | ranks: 2 | fault: any 0@14 1@17 | mode: strict | needs: mpirun
    # class: none | ranks: 3 | mode: watch

fault: rank@line of every call at fault; a rank may have several lines of which any will do. After
`any` the mistake lies between ranks (a tag that differs, say), and some of them have to be named.

    recall       wrong programs that are reported, ended if it is an error, and not if it is none
    precision    of all programs reported, the share that is wrong
    right class  the first report's class is the expected one
    right rank   exactly the ranks at fault are named; after `any` some of them and no others
    right line   right class, no innocent rank, and one of the expected lines
    noise        reports after the first, and all reports about correct programs

The right line is judged as in SC24, "Designing Quality MPI Correctness Benchmarks": a report
counts only with the right class and the right line.

    python tests/mistakes/score.py [--virtual] [name …]
"""

import re
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from mpipar.comm import find_launcher
from mpipar.comm.launch import until_executed
from mpipar.settings import child_environment

HERE = Path(__file__).parent
LIMIT = 15.0  # s for one program
JOBS, VIRTUAL_JOBS = 4, 2  # programs at a time; under mpirun most of them wait

# classes that do not end the job, and what their first line says after "mpipar"
LEVELS = {"buffered sends": "warning", "message race": "note"}

VERDICT = re.compile(r"^mpipar(?: (warning|note))?: (.+)\n  at fault: (.*)$", re.M)
BLAMED = re.compile(r"rank (\d+)(?: at ([^,\n]+?):(\d+))?(?=,|\s*$)")
TRACEBACK = re.compile(r"^rank (\d+) of \d+ failed:\n((?:.*\n?)*?)(?=^rank \d+ of|^mpipar|\Z)", re.M)
FRAME = re.compile(r'^\s*File "([^"]+)", line (\d+)', re.M)


@dataclass(frozen=True)
class Program:
    """A small program and what its header expects.   fault: (rank, line) of the calls at fault"""

    path: Path
    kind: str  # "none" for a correct one
    ranks: int
    fault: frozenset[tuple[int, int]] = frozenset()
    any_of: bool = False
    mode: str = "watch"
    needs: str = ""

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def group(self) -> str:
        """The class that the program's name begins with, also that of a correct one."""
        return re.sub(r"_(wrong|right)_\d+$", "", self.name)

    @property
    def wrong(self) -> bool:
        return self.kind != "none"


class Report(NamedTuple):
    """One verdict found in the output.   at_fault: (rank, line), line 0 outside of the program"""

    kind: str
    level: str  # error, warning or note
    at_fault: frozenset[tuple[int, int]]

    @property
    def ranks(self) -> set[int]:
        return {rank for rank, _ in self.at_fault}


@dataclass
class Outcome:
    """What came of one run.

    status: None where it had to be ended;   seconds: to its end;   first: to the first report, None
    without one;   start_up: what as many ranks take to get to their first line
    """

    program: Program
    status: int | None
    seconds: float
    first: float | None
    output: str
    reports: list[Report] = field(default_factory=list)
    start_up: float = 0.0

    @property
    def found(self) -> bool:
        """A mistake was reported, and the job ended by it just where it should."""
        if not self.program.wrong or not self.reports or self.status is None:
            return False
        expected = LEVELS.get(self.program.kind, "error")
        return self.reports[0].level == expected and (self.status != 0) == (expected == "error")

    @property
    def right_class(self) -> bool:
        return self.found and self.reports[0].kind == self.program.kind

    @property
    def right_rank(self) -> bool:
        expected = {rank for rank, _ in self.program.fault}
        named = self.reports[0].ranks if self.found else set()
        return bool(named) and (named <= expected if self.program.any_of else named == expected)

    @property
    def right_line(self) -> bool:
        if not self.right_class:
            return False
        innocent = self.reports[0].ranks - {rank for rank, _ in self.program.fault}
        return not innocent and bool(self.reports[0].at_fault & self.program.fault)

    @property
    def wait(self) -> float:
        """Seconds from start-up to the first report; on a busy machine not exact."""
        return max(0.0, (self.first or 0.0) - self.start_up)

    @property
    def noise(self) -> int:
        return len(self.reports[1:] if self.program.wrong else self.reports)

    @property
    def failed(self) -> bool:
        """A correct program that did not come to a good end."""
        return not self.program.wrong and self.status != 0

    @property
    def complaint(self) -> str:
        """What is not as expected, "" if nothing."""
        if not self.program.wrong:
            said = " ".join(_short(r) for r in self.reports)
            state = "" if self.status == 0 else f"status {self.status}"
            return ", ".join(filter(None, [said, state]))
        if not self.found:
            said = " ".join(_short(r) for r in self.reports) or "no report"
            state = "still running" if self.status is None else f"status {self.status}"
            return f"{said}, {state}" + ("" if self.reports else f", printed {self.output[-600:]!r}")
        wrong = [word for word in ("class", "rank", "line") if not getattr(self, f"right_{word}")]
        more = f"{self.noise} more reports" if self.noise else ""
        return ", ".join(
            filter(None, [f"{_short(self.reports[0])}: not the {' '.join(wrong)}" if wrong else "", more])
        )


class Score(NamedTuple):
    """Counts over some outcomes.   wrong, right: programs; the others as in the head of this file"""

    wrong: int
    right: int
    found: int
    right_class: int
    right_rank: int
    right_line: int
    false: int  # correct programs that were reported
    failed: int  # correct programs that did not end with status 0
    noise: int
    seconds: float  # median time from start-up to the report

    @property
    def recall(self) -> float:
        return self.found / self.wrong if self.wrong else 1.0

    @property
    def precision(self) -> float:
        return self.found / (self.found + self.false) if self.found + self.false else 1.0

    @property
    def line(self) -> float:
        return self.right_line / self.wrong if self.wrong else 1.0


# ---- what to expect
def read_program(path: Path) -> Program:
    """A program with its header.   errors: ValueError for a header that is not as above"""
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    cells = dict(cell.strip().partition(": ")[::2] for cell in first.removeprefix("# ").split("|"))
    unknown = cells.keys() - {"class", "ranks", "fault", "mode", "needs"}
    if unknown or not {"class", "ranks", "mode"} <= cells.keys():
        raise ValueError(f"{path.name}: header {first!r} is not `# class: … | ranks: … | fault: … | mode: …`")
    words = cells.get("fault", "").split()
    any_of = words[:1] == ["any"]
    places = [tuple(map(int, word.split("@"))) for word in words[any_of:]]
    return Program(
        path,
        cells["class"],
        int(cells["ranks"]),
        frozenset(places),
        any_of,
        cells["mode"],
        cells.get("needs", ""),
    )


def read_programs(folder: Path = HERE) -> list[Program]:
    """All programs of the folder, in the order of their names."""
    return [read_program(path) for path in sorted(folder.glob("*_[0-9]*.py"))]


# ---- what is said
def read_reports(text: str, program: Path) -> list[Report]:
    """The verdicts in an output, in their order.

    A traceback is a report of its own, class "rank raised", unless a verdict names its rank.
    """
    found = []
    for match in VERDICT.finditer(text):
        blamed = BLAMED.findall(match[3])
        places = {(int(rank), _line(program, file, line)) for rank, file, line in blamed}
        found.append((match.start(), Report(match[2], match[1] or "error", frozenset(places))))
    named = {rank for _, report in found for rank in report.ranks}
    for match in TRACEBACK.finditer(text):
        if int(match[1]) not in named:
            lines = [_line(program, file, line) for file, line in FRAME.findall(match[2])]
            places = {(int(match[1]), line) for line in lines if line} or {(int(match[1]), 0)}
            found.append((match.start(), Report("rank raised", "error", frozenset(places))))
    return [report for _, report in sorted(found, key=lambda pair: pair[0])]


def _line(program: Path, file: str, line: str) -> int:
    return int(line) if file and Path(file).name == program.name else 0


def _short(report: Report) -> str:
    return f"{report.kind} {' '.join(f'{rank}@{line}' for rank, line in sorted(report.at_fault))}"


# ---- running
def run_program(program: Program, virtual: bool = False, limit: float = LIMIT, **environment: str) -> Outcome:
    """Run it under mpirun or on virtual ranks, and read what is said about it."""
    return until_executed(lambda: _run_once(program, virtual, limit, **environment), lambda run: run.status)


def _run_once(program: Program, virtual: bool, limit: float, **environment: str) -> Outcome:
    changes = {**settings_of(program), **environment}
    if virtual:
        command, variables = [sys.executable, *simulated(program)], child_environment(**changes)
    else:
        launcher = find_launcher()
        command = launcher.command(program.ranks, [str(program.path)])
        variables = launcher.environment(**changes)
    start = time.monotonic()
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=variables,
    ) as job:
        lines: list[tuple[float, str]] = []
        reader = threading.Thread(
            target=lambda: lines.extend((time.monotonic(), line) for line in job.stderr)
        )
        reader.start()
        status = _wait(job, limit)
        seconds = time.monotonic() - start
        reader.join(5)
    text = "".join(line for _, line in lines).replace("\0", "")  # Open MPI prints some
    begun = [at - start for at, line in lines if re.match(r"\0*(mpipar.*: |rank \d+ of \d+ failed:)", line)]
    reports = read_reports(text, program.path)
    return Outcome(program, status, seconds, begun[0] if begun else None, text, reports)


def simulated(program: Program) -> list[str]:
    """What python is given to run it on virtual ranks."""
    return ["-m", "mpipar.cli", "sim", "-n", str(program.ranks), str(program.path)]


def settings_of(program: Program) -> dict[str, str]:
    """What the environment holds while it runs."""
    return {"MPIPAR_CHECK": program.mode, "MPIPAR_TRACE": "0", "COLUMNS": "200"}


def _wait(job: subprocess.Popen, limit: float) -> int | None:
    try:
        return job.wait(limit)
    except subprocess.TimeoutExpired:
        job.terminate()  # mpirun hands it on to the ranks
    try:
        job.wait(5)
    except subprocess.TimeoutExpired:
        job.kill()
    return None


def run_suite(
    programs: list[Program] | None = None, virtual: bool = False, jobs: int | None = None, **environment: str
) -> list[Outcome]:
    """Run the programs, by default all of this folder, so many at a time.

    Those that need mpirun are left out on virtual ranks.
    """
    programs = read_programs() if programs is None else programs
    chosen = [p for p in programs if not (virtual and p.needs == "mpirun")]
    # an empty program now and then tells how long as many ranks take to start on a busy machine
    probes = [Program(HERE / "start_up.py", "none", ranks) for ranks in sorted({p.ranks for p in chosen})]
    half = len(chosen) // 2
    with ThreadPoolExecutor(jobs or (VIRTUAL_JOBS if virtual else JOBS)) as pool:
        order = [*probes, *chosen[:half], *probes, *chosen[half:], *probes]
        ran = list(pool.map(lambda program: run_program(program, virtual, **environment), order))
    empty = [outcome for outcome in ran if outcome.program in probes]
    outcomes = [outcome for outcome in ran if outcome.program not in probes]
    for outcome in outcomes:
        times = [o.first or 0.0 for o in empty if o.program.ranks == outcome.program.ranks]
        outcome.start_up = statistics.median(times)
    return outcomes


# ---- the score
def score(outcomes: list[Outcome]) -> Score:
    """Count what was found and what was right about it."""
    wrong = [o for o in outcomes if o.program.wrong]
    right = [o for o in outcomes if not o.program.wrong]
    return Score(
        len(wrong),
        len(right),
        sum(o.found for o in wrong),
        sum(o.right_class for o in wrong),
        sum(o.right_rank for o in wrong),
        sum(o.right_line for o in wrong),
        sum(bool(o.reports) for o in right),
        sum(o.failed for o in right),
        sum(o.noise for o in outcomes),
        statistics.median(times) if (times := _times_to_report(outcomes)) else 0.0,
    )


def _times_to_report(outcomes: list[Outcome]) -> list[float]:
    return [o.wait for o in outcomes if o.found and o.first is not None]


def table(outcomes: list[Outcome], title: str = "Mistakes") -> Table:
    """A row a class, and their sum."""
    shown = Table(title=title, width=100, title_justify="left", box=None, pad_edge=False, show_footer=True)
    total = score(outcomes)
    for head, foot in zip(HEADS, _cells("all", total), strict=True):
        shown.add_column(head, foot, justify="left" if head == "class" else "right")
    for group in dict.fromkeys(o.program.group for o in outcomes):
        shown.add_row(
            *_cells(group.replace("_", " "), score([o for o in outcomes if o.program.group == group]))
        )
    return shown


HEADS = (
    "class",
    "wrong",
    "found",
    "class ok",
    "rank ok",
    "line ok",
    "right",
    "reported",
    "failed",
    "noise",
    "s",
)


def _cells(name: str, s: Score) -> list[str]:
    judged = (s.found, s.right_class, s.right_rank, s.right_line) if s.wrong else ("",) * 4
    numbers = (s.wrong or "", *judged, s.right or "", s.false or "", s.failed or "", s.noise or "")
    return [name, *map(str, numbers), f"{s.seconds:.2f}" if s.found else ""]


def summary(outcomes: list[Outcome]) -> str:
    """The shares in one line, then every program that was misjudged."""
    s = score(outcomes)
    first = (
        f"recall {s.recall:.3f}   precision {s.precision:.3f}   right class {s.right_class}/{s.wrong}   "
        f"right rank {s.right_rank}/{s.wrong}   right line {s.line:.3f}   noise {s.noise}"
    )
    last = max((o for o in outcomes if o.found), key=lambda o: o.wait, default=None)
    slowest = f"seconds to a report: median {s.seconds:.2f}"
    slowest += f", at most {last.wait:.2f} ({last.program.name})" if last else ""
    return "\n".join([first, slowest, *(f"{o.program.name}: {o.complaint}" for o in outcomes if o.complaint)])


def print_score(outcomes: list[Outcome], console: Console | None = None, title: str = "Mistakes") -> Score:
    """Print table and summary.   returns: the score of all"""
    console = console or Console(width=100)
    console.print(table(outcomes, title))
    console.print(summary(outcomes), markup=False, highlight=False)
    return score(outcomes)


if __name__ == "__main__":
    names = [word for word in sys.argv[1:] if not word.startswith("-")]
    wanted = [p for p in read_programs() if not names or any(p.name.startswith(name) for name in names)]
    print_score(run_suite(wanted, virtual="--virtual" in sys.argv))
