"""The rows of a trace. A rank's file is JSON lines: a header, then groups and events, a footer.

Times are nanoseconds of the rank's clock (CLOCK_MONOTONIC under mpirun, the virtual clock on
virtual ranks). Ranks are ranks of the world, also in messages of a sub-communicator, so that
a reader needs no translation to draw an arrow.

What `op` may be:
  send recv isend irecv      one message; start is the post, end its completion
  wait                       a request being waited for; `parent` is the request's event
  iallreduce                 a collective from its start to its end; a wait whose `parent` it is
                             tells how long it blocked the rank
  allreduce bcast ...        a collective; its messages name it as their `parent`
  copy                       bytes moved beside a message; `algorithm` says which way
  scope                      a named stretch of the program, `scope` is its path
  memory                     what the process holds now, `bytes`; `algorithm`: "host" or "device"
"""

import msgspec

FORMAT = 1  # raised when a reader of the older format would misread

STARTED = frozenset({"iallreduce"})  # collectives that block a rank only in a wait
COLLECTIVES = STARTED | frozenset(
    "bcast reduce allreduce reduce_scatter allgather gather scatter alltoall scan barrier split".split()
)


class Event(msgspec.Struct, tag_field="kind", tag="event", omit_defaults=True, gc=False):
    """One thing a rank did; see the module's docstring for `op`."""

    seq: int  # counts this rank's events from 0 in the order they began
    op: str
    start: int  # ns
    end: int  # ns
    comm: str = ""  # which communicator: "world", "world/0:1" for color 1 of its first split
    peer: int = -1  # the other rank of a message, the root of a collective, -1 where there is none
    tag: int = -1
    bytes: int = 0
    dtype: str = ""
    shape: tuple[int, ...] = ()
    algorithm: str = ""  # of a collective; direction of a copy
    reduction: str = ""  # sum, prod, max, min, mean
    phase: str = ""  # part of a collective's algorithm, as "reduce-scatter"
    parent: int = -1  # seq of the collective (or request) it belongs to
    step: int = -1  # training step
    micro: int = -1  # micro-batch of the step
    site: str = ""  # file:line of the call
    scope: str = ""  # path of named stretches, as "train/forward"
    values: list | None = None  # the numbers carried (of a collective: given), on request; or "nan", "inf"


class Group(msgspec.Struct, tag_field="kind", tag="group", omit_defaults=True):
    """A communicator this rank belongs to: its id, its members' world ranks, its axis of a mesh."""

    comm: str
    ranks: list[int]
    axis: str = ""  # "dp", "tp", "pp"; "" where it is no axis


class Clock(msgspec.Struct, tag_field="kind", tag="clock"):
    """How this rank's clock differed from rank 0's; only where ranks are on several hosts."""

    at: int  # ns by this rank's clock
    offset: int  # ns to add to this rank's clock for rank 0's, known to within half a round trip
    round_trip: int  # ns


class Header(msgspec.Struct, tag_field="kind", tag="header"):
    """First line of a rank's file."""

    format: int
    rank: int
    size: int
    host: str
    pid: int
    backend: str


class Footer(msgspec.Struct, tag_field="kind", tag="footer"):
    """Last line of a rank that ended in order."""

    events: int
    dropped: int  # events beyond the cap
    lost: int = 0  # events that could not be written


Row = Event | Group | Clock | Header | Footer
