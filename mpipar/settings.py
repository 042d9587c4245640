"""What the environment asks for. `os.environ` is read here and nowhere else.

| variable | values | meaning |
|---|---|---|
| MPIPAR_BACKEND | numpy, fake, cupy | arrays; default cupy where a GPU is usable, else numpy |
| MPIPAR_TRACE | a folder, or 0 | where every rank records its messages; default off, on in tutorials |
| MPIPAR_VALUES | 1 | record the numbers that small messages carry |
| MPIPAR_CUDA_AWARE | 0, 1 | override the test whether MPI can read GPU memory |
| MPIPAR_BLAS_THREADS | a count | BLAS threads a rank; default 1 |

The launcher's own variables (Open MPI, PMI, Slurm) are read to notice a job that started
as N separate worlds of one rank.
"""

import os
from dataclasses import dataclass

from mpipar.errors import OptionError

LAUNCHER_SIZE = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS", "SLURM_NTASKS")


@dataclass(frozen=True)
class Settings:
    """One reading of the environment; see the table above. `None`: not set."""

    backend: str | None
    trace: str | None
    values: bool
    cuda_aware: bool | None
    blas_threads: int
    launcher_size: int  # ranks the launcher says it started; 1 without a launcher
    launcher_variable: str | None  # where that was read


def settings() -> Settings:
    """Read the environment now.   errors: OptionError for a value that is not offered."""
    env = os.environ
    variable, size = _launcher(env)
    return Settings(
        backend=env.get("MPIPAR_BACKEND") or None,
        trace=_path(env.get("MPIPAR_TRACE")),
        values=bool(_flag(env, "MPIPAR_VALUES")),
        cuda_aware=_flag(env, "MPIPAR_CUDA_AWARE"),
        blas_threads=_count(env, "MPIPAR_BLAS_THREADS", default=1),
        launcher_size=size,
        launcher_variable=variable,
    )


def child_environment(**changes: str) -> dict[str, str]:
    """The environment for a process that we start, with `changes` laid over it."""
    return {**os.environ, **changes}


def _launcher(env) -> tuple[str | None, int]:
    for variable in LAUNCHER_SIZE:
        # a batch script's own shell carries SLURM_NTASKS too; only srun's tasks have a rank
        inside = variable != "SLURM_NTASKS" or "SLURM_PROCID" in env
        if inside and env.get(variable, "").isdigit():
            return variable, int(env[variable])
    return None, 1


def _path(value: str | None) -> str | None:
    return None if value in (None, "", "0", "off") else value


def _flag(env, name: str) -> bool | None:
    value = env.get(name, "")
    if value not in ("", "0", "1"):
        raise OptionError(f"{name}={value!r} is neither 0 nor 1; unset it or choose one of them")
    return None if value == "" else value == "1"


def _count(env, name: str, default: int) -> int:
    value = env.get(name) or str(default)
    if not value.isdigit() or int(value) < 1:
        raise OptionError(f"{name}={value!r} is not a count; give a whole number from 1 on")
    return int(value)
