"""Runs a program of ours on two ranks, and reads the JSON that it prints last."""

import json
import subprocess
from typing import Any

from mpipar.comm import find_launcher
from mpipar.errors import LaunchError

LIMIT = 120  # s for one launch


def launch(program: str, *arguments: object, **environment: str) -> Any:
    """What `python -m program arguments` prints on rank 0 of 2.

    errors: LaunchError without a working mpirun, after LIMIT, or with what the program said
    """
    launcher = find_launcher()
    command = launcher.command(2, ["-m", program, *map(str, arguments)])
    try:
        run = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=launcher.environment(**environment),
            timeout=LIMIT,
        )
    except subprocess.TimeoutExpired:
        raise LaunchError(f"bench: two ranks took more than {LIMIT} s; give smaller numbers") from None
    if run.returncode:
        said = (run.stderr.strip().splitlines() or ["nothing"])[0]
        raise LaunchError(f"bench: mpirun ended with {run.returncode} and said {said!r}; run mpipar doctor")
    return json.loads(run.stdout.strip().splitlines()[-1])
