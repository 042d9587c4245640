"""Where measurements are kept: a JSON file each, with the machine, versions and date they belong to."""

import json
import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mpipar.comm import find_launcher
from mpipar.errors import LaunchError, OptionError
from mpipar.settings import child_environment

FOLDER = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """What a measurement depends on; load: programs that wanted to run in the last minute."""
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in ("mpipar", "numpy", "mpi4py", "greenlet", "torch")},
        "blas": {k: v for k, v in child_environment().items() if k.startswith(("OPENBLAS_", "MKL_"))},
        "mpirun": _mpirun(),
    }


def describe(about: dict[str, Any]) -> str:
    """The machine in a line or two, with what the environment says to BLAS."""
    load = "" if about["load"] is None else f", load {about['load']}"
    blas = "".join(f", {name}={value}" for name, value in about["blas"].items())
    return (
        f"{about['date'][:10]} on {about['processor']}, {about['cores']} cores{load}; {about['mpirun']}, "
        f"mpi4py {about['mpi4py']}, Python {about['python']}, NumPy {about['numpy']}{blas}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "unknown")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # run from its folder
        return None


def _mpirun() -> str | None:
    try:
        return find_launcher().version
    except LaunchError:
        return None


def save(name: str, result: dict[str, Any], folder: Path = FOLDER) -> Path:
    """Keep a result as name-date.json.   returns: where;   errors: OptionError where it cannot be written"""
    path = folder / f"{name}-{result['machine']['date'][:16].replace(':', '')}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OptionError(
            f"{path} cannot be written ({error.strerror}); use --json and keep the output"
        ) from None
    return path
