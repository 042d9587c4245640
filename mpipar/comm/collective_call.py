"""A collective of a communicator as the trace and the ledger have it."""

import sys
from typing import Any

from mpipar.comm.wire import CARRIED
from mpipar.trace import Event, call_site


class CollectiveCall:
    """`with CollectiveCall(...)`: a collective, whose hops inside become its children.

    x: what tells the size of the call;   given: this rank's input where that is not x
    """

    def __init__(
        self, comm: Any, operation: str, x: Any, algorithm: str, op: str = "", root: int = -1,
        given: Any = ...,
    ) -> None:  # fmt: skip
        self._comm, self._recorder, self._checked = comm, comm._recorder, comm._checked
        if self._recorder is not None or self._checked is not None:
            self._what = (operation, x, algorithm, op, root)
            self._given = x if given is ... else given
            self._site = call_site(sys._getframe(2))

    def __enter__(self) -> None:
        self._entered = self._comm._transport.now()
        if self._checked is not None:
            operation, x, algorithm, op, root = self._what
            self._checked.entering(operation, root, op, x, algorithm, self._site)
        recorder = self._recorder
        if recorder is not None:
            show = recorder.values and self._given is not None
            self._values = recorder.values_of(self._given) if show else None
            self._comm._hops.parent = self._seq = recorder.begin()
            self._start = recorder.clock()

    def __exit__(self, error: object, *_: object) -> None:
        recorder, comm = self._recorder, self._comm
        comm.seconds += (comm._transport.now() - self._entered) / 1e9
        comm._hops.phase = ""
        if self._checked is not None and error is None:
            self._checked.left()
        if recorder is None or error is not None:
            return
        operation, x, algorithm, op, root = self._what
        event = Event(
            self._seq, operation, self._start, recorder.clock(), comm.name,
            comm._world_ranks[root] if root >= 0 else -1, -1, x.nbytes, CARRIED[x.dtype], x.shape,
            algorithm + comm._stands_for, op, "", -1, recorder.step, recorder.micro, self._site,
            recorder.scope_path, self._values,
        )  # fmt: skip
        recorder.add(event)
