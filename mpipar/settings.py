"""What the environment asks for. `os.environ` is read here and nowhere else.

| variable | values | meaning |
|---|---|---|
| MPIPAR_BACKEND | numpy, fake, cupy | arrays; default cupy where a GPU is usable, else numpy |
| MPIPAR_TRACE | a folder, or 0 | where every rank records its messages; default off, on in tutorials |
| MPIPAR_VALUES | 1 | record the numbers that small messages carry |
| MPIPAR_CHECK | off, watch, strict | find deadlocks and mismatches; strict: buffer no send; default watch |
| MPIPAR_CUDA_AWARE | 0, 1 | override the test whether MPI can read GPU memory |
| MPIPAR_BLAS_THREADS | a count | BLAS threads a rank; default 1 |
| XDG_CONFIG_HOME | a folder | what `mpipar calibrate` measured is kept in its mpipar/; default ~/.config |

Where a run's messages are recorded is decided by the first of these that says anything:
--trace on the command line, MPIPAR_TRACE, what the script gives to `mpipar.world(trace=...)`.
Each of them may also say "nowhere": --trace 0, MPIPAR_TRACE=0, trace=False.

The launcher's own variables (Open MPI, PMI, Slurm) are read to notice a job that started
as N separate worlds of one rank.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from mpipar.errors import OptionError

# the launcher's name for the number of ranks and for this rank
LAUNCHERS = (
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("PMI_SIZE", "PMI_RANK"),
    ("SLURM_NTASKS", "SLURM_PROCID"),  # a batch script's own shell has the first alone
)


class CommandLine(str):
    """A trace folder that was given as --trace, "" for --trace 0."""


@dataclass(frozen=True)
class Settings:
    """One reading of the environment; see the table above. `None`: not set."""

    backend: str | None
    trace: str | None
    trace_is_set: bool  # also when it is set to "no trace"
    values: bool
    check: str
    cuda_aware: bool | None
    blas_threads: int
    config: str  # folder of the user's own settings for mpipar; need not exist
    launcher_size: int  # ranks the launcher says it started; 1 without a launcher
    launcher_rank: int  # this rank by the launcher's word; 0 without a launcher
    launcher_variable: str | None  # where the size was read

    def trace_folder(self, asked: str | Path | bool | None) -> str | Path | None:
        """Where to record, by the rule above.   asked: by the script;   None: nowhere"""
        if self.trace_is_set and not isinstance(asked, CommandLine):
            return self.trace
        if asked is True:
            raise OptionError("trace=True names no folder; give one, as in world(trace='traces/mine')")
        return asked or None


def settings() -> Settings:
    """Read the environment now.   errors: OptionError for a value that is not offered."""
    env = os.environ
    variable, size, rank = _launcher(env)
    return Settings(
        backend=env.get("MPIPAR_BACKEND") or None,
        trace=None if is_off(env.get("MPIPAR_TRACE")) else env["MPIPAR_TRACE"],
        trace_is_set=bool(env.get("MPIPAR_TRACE")),
        values=bool(_flag(env, "MPIPAR_VALUES")),
        check=_choice(env, "MPIPAR_CHECK", ("watch", "off", "strict")),
        cuda_aware=_flag(env, "MPIPAR_CUDA_AWARE"),
        blas_threads=_count(env, "MPIPAR_BLAS_THREADS", default=1),
        config=os.path.join(env.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "mpipar"),
        launcher_size=size,
        launcher_rank=rank,
        launcher_variable=variable,
    )


def child_environment(unless_set: dict[str, str] | None = None, /, **changes: str) -> dict[str, str]:
    """The environment for a process that we start, with `changes` laid over it and `unless_set` below."""
    return {**(unless_set or {}), **os.environ, **changes}


def _launcher(env) -> tuple[str | None, int, int]:
    for size, rank in LAUNCHERS:
        if env.get(size, "").isdigit() and env.get(rank, "").isdigit():
            return size, int(env[size]), int(env[rank])
    return None, 1, 0


def is_off(folder: str | None) -> bool:
    """Whether this value of MPIPAR_TRACE or --trace means: do not record."""
    return folder in (None, "", "0", "off")


def _flag(env, name: str) -> bool | None:
    value = env.get(name, "")
    if value not in ("", "0", "1"):
        raise OptionError(f"{name}={value!r} is neither 0 nor 1; unset it or choose one of them")
    return None if value == "" else value == "1"


def _choice(env, name: str, offered: tuple[str, ...]) -> str:
    value = env.get(name) or offered[0]
    if value not in offered:
        raise OptionError(f"{name}={value!r} is unknown; choose one of {', '.join(offered)}")
    return value


def _count(env, name: str, default: int) -> int:
    value = env.get(name) or str(default)
    if not value.isdigit() or int(value) < 1:
        raise OptionError(f"{name}={value!r} is not a count; give a whole number from 1 on")
    return int(value)
