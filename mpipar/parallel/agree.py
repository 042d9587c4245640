"""Steps that succeed on all ranks or fail on all with the same sentence, so that none is left waiting.

with together(comm):
    write(file)  # one rank's disk is full: all ranks raise that rank's CheckpointError
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from mpipar.comm import Communicator
from mpipar.errors import CheckpointError, MpiparError


@contextmanager
def together(comm: Communicator, undo: Callable[[], None] | None = None) -> Iterator[None]:
    """Collective: what is done inside sends nothing, and raises an MpiparError on all ranks or on none.

    undo: done by rank 0 where it failed on any, before they raise
    cost: an allgather of a byte;   errors: CheckpointError with the words of the first rank that failed
    """
    said, cause = "", None
    try:
        yield
    except MpiparError as error:
        said, cause = str(error), error
    failed = comm.allgather(np.array([bool(said)]))
    if not failed.any():
        return
    first = int(failed.argmax())
    text = gathered(comm, said)[first]
    if undo is not None and comm.rank == 0:
        undo()
    comm.barrier()  # nobody tries again before all is undone
    raise CheckpointError(f"rank {first}: {text}" if comm.size > 1 else text) from cause


def gathered(comm: Communicator, value: Any) -> list[Any]:
    """Collective: what each rank gives, as JSON, on all ranks.

    cost: two allgathers, of the longest text"""
    data = np.frombuffer(json.dumps(value, default=float).encode(), np.uint8)
    lengths = comm.allgather(np.array([len(data)]))
    padded = np.zeros((1, lengths.max()), np.uint8)
    padded[0, : len(data)] = data
    rows = comm.allgather(padded)
    return [json.loads(row[:n].tobytes()) for row, n in zip(rows, lengths, strict=True)]
