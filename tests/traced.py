"""The trace of a part of a test, under mpirun and on virtual ranks alike."""

import shutil
import tempfile
from pathlib import Path

import numpy as np

from mpipar.comm import Communicator
from mpipar.trace import Recorder, prepare_folder, read


def traced(world, run, nodes=None):
    """The trace of run(comm), on rank 0; None on the others. comm has world's ranks."""
    name = np.zeros(256, np.uint8)
    if world.rank == 0:
        folder = tempfile.mkdtemp()
        prepare_folder(folder, {"size": world.size})
        name[: len(folder)] = np.frombuffer(folder.encode(), np.uint8)
    folder = Path(world.bcast(name, algorithm="linear").tobytes().rstrip(b"\0").decode())
    transport = world._transport.duplicate()
    recorder = Recorder(folder, world.rank, world.size, clock=transport.now, flush_seconds=None)
    run(Communicator(transport, recorder, nodes=nodes))
    recorder.close()
    world.barrier()
    if world.rank > 0:
        return None
    trace = read(folder)
    shutil.rmtree(folder)
    return trace
