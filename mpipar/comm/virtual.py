"""Virtual ranks: the same program on any number of ranks of one process, in virtual time.

Messages take the time that network.py says. Computation takes the thread time it took between
two messages (compute="measured"), or none (compute="none"); then a collective is charged gamma
for the bytes it reduces. Making a communicator takes no time. With compute="none" two runs of a
deterministic program write the same trace, byte for byte.
"""

from collections.abc import Callable, Sequence
from contextvars import Context
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from mpipar.comm.communicator import Communicator
from mpipar.comm.mailbox import Group, VirtualTransport
from mpipar.comm.network import Network, Topology, load_topology, one_node
from mpipar.comm.scheduler import Rank, Scheduler
from mpipar.comm.world import virtual_job, world, world_made_by
from mpipar.settings import Settings, settings
from mpipar.trace import Recorder, prepare_folder

ROWS_KEPT = 256  # of a trace in memory, a rank


def run(
    function: Callable[..., Any],
    ranks: int,
    network: Topology | Network | str | Path | None = None,
    trace: str | Path | None = None,
    compute: str = "none",
    args: Sequence[Any] = (),
) -> list[Any]:
    """Call function(world, *args) on so many virtual ranks.   returns: what each rank returned

    network: a Topology or its TOML file, or a Network for one node (the default)
    trace: folder to record into        compute: "none", or "measured" to count computing time
    errors: DeadlockError where nobody can go on; else what the first rank to fail raised, with
        its number as the attribute `rank`
    """
    job = Job(ranks, topology_of(network), compute)
    return job.run(lambda rank: function(world(trace), *args))


def topology_of(network: Topology | Network | str | Path | None) -> Topology:
    if isinstance(network, Topology):
        return network
    if network is None or isinstance(network, Network):
        return one_node(*([] if network is None else [network]))
    return load_topology(network)


class Job:
    """The worlds and the trace of one simulation."""

    def __init__(self, size: int, topology: Topology, compute: str) -> None:
        self.scheduler = Scheduler(size, compute)
        self.network = topology.network(size)
        self.group = Group(self.scheduler, topology, self.scheduler.ranks)
        self._folder: Path | None = None
        self._recorders: dict[int, Recorder] = {}

    def run(self, body: Callable[[int], Any]) -> list[Any]:
        """body(rank) on every rank.   returns: their results;   errors: as `run` above"""
        try:
            with virtual_job(), threadpool_limits(settings().blas_threads):
                return self.scheduler.run(body, self._prepare)
        finally:
            for rank, recorder in self._recorders.items():
                whole = self.scheduler.ranks[rank].ended and self.scheduler.ranks[rank].error is None
                (recorder.close if whole else recorder.flush)()

    def _prepare(self, context: Context, rank: Rank) -> None:
        transport = self.group.transports[rank.number]

        def make(wanted: Settings, trace: Any, values: bool) -> Communicator:
            folder = wanted.trace if trace is None else trace
            recorder = None
            if folder is not None:
                recorder = self._recorder(folder, transport, values or wanted.values)
            return Communicator(transport, recorder, network=self.network)

        context.run(world_made_by, make, rank.number)

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
