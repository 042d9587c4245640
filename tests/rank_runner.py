"""What each rank runs for tests/ranks.py: the tests of a list, one after the other.

A rank writes `passed` for each test. A failure is written with its traceback and ends the job;
a test that takes longer than `LIMIT` leaves the stack of every rank and ends it too.
"""

import faulthandler
import importlib.util
import json
import sys
import traceback
from pathlib import Path

LIMIT = 30  # s a test


def main(out: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    import mpipar as mp
    from mpipar.arrays import BACKEND, checks_apart

    world = mp.world()
    report = open(out / f"rank-{world.rank}.txt", "w", buffering=1)  # noqa: SIM115
    failure = open(out / f"failure-{world.rank}.txt", "w", buffering=1)  # noqa: SIM115
    modules: dict[str, object] = {}
    for file, module, name in json.loads((out / "tests.json").read_text()):
        limit = LIMIT * (5 if BACKEND == "cupy" else 1)  # as SLOWER of ranks.py
        faulthandler.dump_traceback_later(limit, exit=True, file=failure)
        try:
            if module not in modules:
                modules[module] = load(file, module)
            with checks_apart():
                getattr(modules[module], name).check(world)
            world.barrier()
        except BaseException:
            failure.write(traceback.format_exc())
            failure.flush()
            raise
        report.write("passed\n")
        faulthandler.cancel_dump_traceback_later()


def load(file: str, module: str):
    """Import a test file as pytest does: its folder first on the path."""
    sys.path.insert(0, str(Path(file).parent))
    spec = importlib.util.spec_from_file_location(module, file)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


if __name__ == "__main__":
    main(Path(sys.argv[1]))
