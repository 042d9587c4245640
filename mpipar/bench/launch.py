"""Programs that a bench starts: ranks under mpirun, and processes of a peer that starts its own way."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mpipar.comm import find_launcher
from mpipar.errors import LaunchError
from mpipar.settings import child_environment


def run_ranks(ranks: int, program: list[str], limit: float, **environment: str) -> Any:
    """Run python with these arguments under mpirun.   limit: s

    returns: the last line that it printed, as JSON.   errors: LaunchError
    """
    launcher = find_launcher()
    command = launcher.command(ranks, program)
    try:
        run = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=launcher.environment(**environment),
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        raise LaunchError(f"bench: {ranks} ranks took more than {limit:.0f} s; ask for less") from None
    if run.returncode:
        said = (run.stderr.strip().splitlines() or ["nothing"])[0]
        raise LaunchError(f"bench: mpirun ended with {run.returncode} and said {said!r}; run mpipar doctor")
    return json.loads(run.stdout.strip().splitlines()[-1])


def run_peers(ranks: int, module: str, arguments: list[str], limit: float) -> Any:
    """Run `python -m module rank ranks file arguments …` once a rank; the file is where they meet.

    returns: the last line that rank 0 printed, as JSON.   errors: LaunchError
    """
    environment = child_environment(OMP_NUM_THREADS="1", MPIPAR_TRACE="0")
    with tempfile.TemporaryDirectory() as folder:
        meeting = str(Path(folder) / "meeting")
        commands = [
            [sys.executable, "-m", module, str(rank), str(ranks), meeting, *arguments]
            for rank in range(ranks)
        ]
        started = [
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
            )
            for command in commands
        ]
        try:
            said = [process.communicate(timeout=limit) for process in started]
        except subprocess.TimeoutExpired:
            raise LaunchError(
                f"bench: {ranks} processes of {module} took more than {limit:.0f} s; ask for less"
            ) from None
        finally:
            for process in started:
                process.kill()
                process.wait()
    for process, (_, errors) in zip(started, said, strict=True):
        if process.returncode:
            last = (errors.strip().splitlines() or ["nothing"])[-1]
            raise LaunchError(f"bench: {module} ended with {process.returncode} and said {last!r}")
    return json.loads(said[0][0].strip().splitlines()[-1])
