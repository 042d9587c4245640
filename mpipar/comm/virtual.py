"""Virtual ranks: the same program on any number of ranks of one process, in virtual time.

Messages take the time that network.py says. Computation takes the thread time it took between
two messages (compute="measured"), or none (compute="none"); then a collective is charged gamma
for the bytes it reduces. Making a communicator takes no time. With compute="none" two runs of a
deterministic program write the same trace, byte for byte.
"""

import sys
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import replace
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from mpipar.arrays import checks_apart
from mpipar.comm.checked import CheckedTransport
from mpipar.comm.communicator import Communicator
from mpipar.comm.deadlock import deadlock_error
from mpipar.comm.diagnose import diagnose
from mpipar.comm.judge import (
    behind_error,
    blamed_line,
    final_snapshot,
    last_words,
    never_waited_for,
    raced,
)
from mpipar.comm.ledger import Ledger, Snapshot
from mpipar.comm.mailbox import Group, VirtualTransport
from mpipar.comm.network import Network, Topology, load_topology, one_node
from mpipar.comm.scheduler import Rank, Scheduler
from mpipar.comm.verdict import Verdict
from mpipar.comm.world import has_world, virtual_job, world, world_made_by
from mpipar.errors import DeadlockError, VerdictError
from mpipar.settings import CommandLine, Settings, settings
from mpipar.trace import Recorder, prepare_folder

ROWS_KEPT = 256  # of a trace in memory, a rank
CHECKED_UP_TO = 32  # ranks; beyond, a run is for speed, and only deadlocks are told


def run(
    function: Callable[..., Any],
    ranks: int,
    network: Topology | Network | str | Path | None = None,
    trace: str | Path | None = None,
    compute: str = "none",
    args: Sequence[Any] = (),
    check: str | None = None,
    values: bool = False,
) -> list[Any]:
    """Call function(world, *args) on so many virtual ranks.   returns: what each rank returned

    network: a Topology or its TOML file, or a Network for one node (the default)
    trace: folder to record into, by default MPIPAR_TRACE; of a run within a run, which must not
        write over the outer one's, none
    compute: "none", or "measured" to count computing time
    check: off, watch or strict, by default what MPIPAR_CHECK says; beyond 32 ranks only deadlocks
        are told, because ledgers would halve the messages a second
    values: record the numbers that small messages carry
    errors: DeadlockError where nobody can go on, VerdictError for another mistake in the messages;
        else what the first rank to fail raised, with its number as the attribute `rank`
    """
    job = Job(ranks, topology_of(network), compute, check)
    trace = CommandLine(trace or "") if has_world() else trace
    results = job.run(lambda rank: function(world(trace, values), *args))
    for warning in job.warnings:
        print(warning.text, end="", file=sys.stderr)
    return results


def topology_of(network: Topology | Network | str | Path | None) -> Topology:
    if isinstance(network, Topology):
        return network
    if network is None or isinstance(network, Network):
        return one_node(*([] if network is None else [network]))
    return load_topology(network)


def _with_its_checks(body: Callable[[int], Any]) -> Callable[[int], Any]:
    """The same, and what it put off checking on a device is found where the rank ends."""

    def whole(rank: int) -> Any:
        with checks_apart():
            return body(rank)

    return whole


class Job:
    """The worlds and the trace of one simulation."""

    def __init__(self, size: int, topology: Topology, compute: str, check: str | None = None) -> None:
        check = settings().check if check is None else check
        self.strict = check == "strict"
        if self.strict:
            topology = replace(topology, eager_limit=-1)  # every send waits for its receiver
        # a thousand ledgers would cost more than the messages; a deadlock is known without them
        self.ledgers = [Ledger(r) for r in range(size)] if check != "off" and size <= CHECKED_UP_TO else []
        self.scheduler = Scheduler(size, compute)
        self.scheduler.deadlock = self._deadlock
        self.warnings: list[Verdict] = []  # of a run that has ended well
        self.network = topology.network(size)
        self.group = Group(self.scheduler, topology, self.scheduler.ranks)
        self._folder: Path | None = None
        self._recorders: dict[int, Recorder] = {}

    def run(self, body: Callable[[int], Any]) -> list[Any]:
        """body(rank) on every rank.   returns: their results;   errors: as `run` above"""
        try:
            with virtual_job(), threadpool_limits(settings().blas_threads):
                results = self.scheduler.run(_with_its_checks(body), self._prepare)
            self._last_words()
            return results
        except Exception as error:
            self._explain(error)
            raise
        finally:
            for rank, recorder in self._recorders.items():
                whole = self.scheduler.ranks[rank].ended and self.scheduler.ranks[rank].error is None
                (recorder.close if whole else recorder.flush)()

    def _prepare(self, context: Context, rank: Rank) -> None:
        transport = self.group.transports[rank.number]
        checked = self._checked(transport)

        def make(wanted: Settings, trace: Any, values: bool) -> Communicator:
            folder = wanted.trace if trace is None else trace
            recorder = None
            if folder is not None:
                recorder = self._recorder(folder, transport, values or wanted.values)
            return Communicator(checked, recorder, network=self.network)

        context.run(world_made_by, make, rank.number)

    def _checked(self, transport: VirtualTransport) -> Any:
        if not self.ledgers:
            return transport
        return CheckedTransport(transport, self.ledgers[transport.rank], self.strict)

    def _states(self) -> dict[int, Snapshot]:
        """The ledgers; whoever has not ended waits for certain, since nobody runs."""
        ended = [rank.ended for rank in self.scheduler.ranks]
        books = enumerate(self.ledgers)
        return {r: final_snapshot(book) if ended[r] else book.snapshot(True) for r, book in books}

    def _deadlock(self, ranks: list[Rank]) -> DeadlockError:
        error = deadlock_error(ranks)
        verdict = diagnose(self._states(), len(ranks), self.strict, exact=True) if self.ledgers else None
        if verdict is None:
            return error
        found = DeadlockError(verdict.text)
        found.verdict, found.waiting = verdict, error.waiting
        return found

    def _last_words(self) -> None:
        if not self.ledgers:
            return
        self.warnings += [note for note in map(raced, self.ledgers) if note is not None][:1]
        left = next((v for v in map(never_waited_for, self.ledgers) if v is not None), None)
        verdict = left or last_words(self._states(), self.strict)
        if verdict is not None and verdict.level:
            self.warnings.append(verdict)
        elif verdict is not None:
            raise VerdictError(verdict)

    def _explain(self, error: Exception) -> None:
        """Raise the verdict behind the error, where there is one."""
        if not self.ledgers or isinstance(error, (VerdictError, DeadlockError)):
            return
        if blamed_line(error.__traceback__) is None:
            return
        verdict = behind_error(self._states())
        if verdict is not None:
            found = VerdictError(verdict)
            found.rank = getattr(error, "rank", None)
            raise found from error

    def _recorder(self, folder: str | Path, transport: VirtualTransport, values: bool) -> Recorder:
        if self._folder is None:  # the first rank to come makes it, and later the others find it
            self._folder = Path(folder).absolute()
            prepare_folder(self._folder, self._meta())
        self._recorders[transport.rank] = recorder = Recorder(
            self._folder, transport.rank, transport.size, clock=transport.now, values=values,
            flush_seconds=None, rows_kept=ROWS_KEPT, host="virtual", pid=0,
        )  # fmt: skip
        return recorder

    def _meta(self) -> dict[str, Any]:
        measured = self.scheduler.measured
        meta = {"size": len(self.scheduler.ranks), "transport": "virtual", "clock": "virtual"}
        meta |= {"compute": "measured" if measured else "none"}
        return meta if measured else meta | {"created": None}  # a date would make two runs differ
