"""`mpipar doctor`: what this machine offers for distributed training, and what is missing."""

import importlib.util
import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text
from threadpoolctl import threadpool_info

from mpipar import arrays
from mpipar.comm import find_launcher, load_mpi
from mpipar.errors import LaunchError, OptionError
from mpipar.settings import settings
from mpipar.view.console import console


class Finding(NamedTuple):
    """One line.   state: ok, note (works, but worth knowing) or missing"""

    what: str
    state: str
    found: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Look at Python, arrays, MPI, launcher, BLAS and the optional packages."""
    return [
        Finding("Python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        _arrays(),
        *_mpi(),
        _launcher(),
        _ranks(),
        _blas(),
        *(_package(*row) for row in OPTIONAL),
    ]


OPTIONAL = (
    ("torch", "the oracle of the numerical tests", "pip install torch==2.13.0"),
    ("matplotlib", "figures as PDF and PNG", "pip install 'mpipar[plots]'"),
)


def print_findings(findings: list[Finding]) -> None:
    """A table on standard output."""
    styles = {"ok": "green", "note": "yellow", "missing": "red"}
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for column in ("what", "", "found", "remedy"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        state = Text(finding.state, style=styles[finding.state])
        table.add_row(finding.what, state, finding.found, finding.remedy)
    console().print(table, highlight=False)


MISTAKES = Path(__file__).parents[2] / "tests" / "mistakes"  # in the repository, not in the wheel


def run_mistakes(virtual: bool, as_json: bool, names: tuple[str, ...] = (), folder: Path = MISTAKES) -> None:
    """Run the wrong programs and their correct twins, and print what was said of them.

    virtual: on virtual ranks, which takes half a minute; under mpirun some minutes
    names: beginnings of the programs' names, by default all
    errors: OptionError without the programs
    """
    if not (folder / "score.py").is_file():
        raise OptionError(
            "doctor --mistakes: its programs lie in the repository's tests/mistakes and are not installed; "
            "clone the repository and install it with pip install --editable"
        )
    score = _module("mpipar_mistakes_score", folder / "score.py")
    chosen = [p for p in score.read_programs(folder) if not names or p.name.startswith(names)]
    if not chosen:
        raise OptionError(
            f"doctor --mistakes: no program's name begins with {' or '.join(names)}; see {folder}"
        )
    if not as_json:
        print(f"running {len(chosen)} small programs; this takes a while", file=sys.stderr, flush=True)
    outcomes = score.run_suite(chosen, virtual)
    if as_json:
        total = score.score(outcomes)
        shares = {name: getattr(total, name) for name in ("recall", "precision", "line")}
        print(json.dumps({**total._asdict(), **shares}, indent=2))
    else:
        where = "on virtual ranks" if virtual else "under mpirun"
        score.print_score(outcomes, console(), f"Mistakes {where}")


def _module(name: str, file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, file)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _arrays() -> Finding:
    found = arrays.describe()
    if arrays.BACKEND != "numpy" or settings().backend is not None:
        return Finding("arrays", "ok", found)
    if importlib.util.find_spec("cupy"):
        return Finding("arrays", "note", f"{found}; CuPy sees no GPU", "check nvidia-smi, if there is a GPU")
    remedy = "with a GPU: pip install 'mpipar[cuda12]'"
    return Finding("arrays", "note", f"{found}; no GPU in use", remedy)


def _mpi() -> list[Finding]:
    try:
        mpi = load_mpi()
    except LaunchError as error:
        reason, _, remedy = str(error).partition("; ")
        return [Finding("MPI library", "missing", reason, remedy)]
    library = mpi.MPI.Get_library_version().split(",")[0].strip("\x00 \n")
    aware = mpi.cuda_aware()
    found = "yes" if aware else "no: GPU arrays travel through pinned host memory"
    return [
        Finding("MPI library", "ok", f"{library}, mpi4py {version('mpi4py')}"),
        Finding("CUDA-aware", "ok" if aware or arrays.BACKEND == "numpy" else "note", found),
    ]


def _launcher() -> Finding:
    try:
        launcher = find_launcher()
    except LaunchError as error:
        reason, _, remedy = str(error).partition("; ")
        return Finding("mpirun", "missing", reason, remedy)
    return Finding("mpirun", "ok", f"{launcher.version}: {launcher.path}")


def _ranks() -> Finding:
    here, cores = settings(), _cores()
    if here.launcher_variable is not None:
        return Finding("ranks", "ok", f"{here.launcher_size} by {here.launcher_variable}, {cores} cores here")
    return Finding("ranks per node", "ok", f"up to {cores} run at full speed, one a core; more take turns")


def _cores() -> int:
    """Cores that this process may use: under taskset, Slurm or in a container not all there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _blas() -> Finding:
    wanted = settings().blas_threads
    loaded = [f"{pool['internal_api']} with {pool['num_threads']} threads" for pool in threadpool_info()]
    found = ", ".join(loaded) or "none loaded"
    return Finding("BLAS threads", "ok", f"{found}; a rank is set to {wanted}")


def _package(name: str, use: str, install: str) -> Finding:
    try:
        return Finding(name, "ok", f"{version(name)}, {use}")
    except PackageNotFoundError:
        return Finding(name, "note", f"not installed: {use}", install)
