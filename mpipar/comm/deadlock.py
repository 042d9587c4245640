"""What virtual ranks wait for when none of them can go on, and a sentence about it.

A blocked greenlet keeps its frames, so the line, the communicator and the collective are read
from there when they are asked for, and a message that arrives costs nothing.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from greenlet import getcurrent

from mpipar.comm.transport import ANY_SOURCE, ANY_TAG
from mpipar.errors import DeadlockError
from mpipar.trace import COLLECTIVES, call_site

HERE = str(Path(__file__).parent)
LISTED = 8  # ranks; of more, the others are counted


@dataclass(frozen=True)
class Where:
    """A call into a communicator: operation, communicator, collective it is part of, user's file:line"""

    op: str
    comm: str
    collective: str
    site: str
    frame: FrameType  # of the communicator's outermost method: the collective, else the operation


@dataclass(frozen=True)
class Waiting:
    """What one rank waits for.   peer: a world rank, ANY_SOURCE, or -2 where it is all of `missing`

    op: send, recv, sendrecv, wait, test, split      collective: "" outside of one
    side: what the peer is to it: source or dest
    ended: the rank has ended and waits for nothing; the other fields are empty
    """

    rank: int
    op: str = ""
    side: str = ""
    peer: int = -2
    tag: int = ANY_TAG
    comm: str = ""
    collective: str = ""
    site: str = ""
    missing: tuple[int, ...] = ()
    ended: bool = False

    def call(self) -> str:
        """As recv(source=1, tag=7) of allreduce at train.py:42"""
        on = f" on {self.comm}" if self.comm not in ("", "world") else ""
        part = f" of {self.collective}" if self.collective else ""
        if self.peer == -2:
            more = ", …" if len(self.missing) > LISTED else ""
            return (
                f"{self.op}{on} at {self.site}, for rank {', '.join(map(str, self.missing[:LISTED]))}{more}"
            )
        peer = "ANY_SOURCE" if self.peer == ANY_SOURCE else self.peer
        tag = "" if self.tag == ANY_TAG else f", tag={self.tag}"
        return f"{self.op}({self.side}={peer}{tag}){part}{on} at {self.site}"


def where_is(frame: FrameType | None) -> Where | None:
    """The communicator's method that a rank is in, seen from any frame below it."""
    calls = [f for f in inside(frame) if _communicator(f) is not None]
    if not calls:
        return None
    outer = calls[-1]
    inner = next((f.f_code.co_name for f in calls if not f.f_code.co_name.startswith("_")), "")
    name = outer.f_code.co_name
    collective = name if name in COLLECTIVES and inner != name else ""
    collective = collective or getattr(outer.f_locals.get("self"), "operation", "")  # one under way
    site = call_site(outer.f_back) if outer.f_back is not None else ""
    return Where(inner, _communicator(outer).name, collective, site, outer)


def deadlock_error(ranks: list[Any]) -> DeadlockError:
    """The error that says so.   waiting: the list of Waiting, one a rank"""
    stuck = [waiting(rank) for rank in ranks]
    error = DeadlockError(describe(stuck))
    error.waiting = stuck
    return error


def describe(ranks: list[Waiting]) -> str:
    """The verdict: who waits for whom and where, the cycle, and the remedy."""
    stuck = [w for w in ranks if not w.ended]
    cycle = find_cycle(ranks)
    first = [w for w in stuck if w.rank in cycle] or stuck
    listed = (first + [w for w in stuck if w not in first])[:LISTED]
    lines = ["deadlock: nobody can go on"]
    lines += [f"  rank {w.rank} waits in {w.call()}" for w in listed]
    if len(stuck) > len(listed):
        lines.append(f"  … and {len(stuck) - len(listed)} more ranks wait")
    gone = sorted({w.peer for w in stuck if w.peer >= 0 and ranks[w.peer].ended})
    lines += [f"  rank {rank} has ended" for rank in gone[:LISTED]]
    if cycle:
        shown = [*cycle[:LISTED], *(["…"] if len(cycle) > LISTED else []), cycle[0]]
        lines.append("  " + " → ".join(str(r) if r == "…" else f"rank {r}" for r in shown))
    return "\n".join([*lines, _remedy(stuck, gone, cycle)])


def find_cycle(ranks: list[Waiting]) -> list[int]:
    """Ranks that wait for each other in a circle, the lowest first; [] where there is none."""
    for start in ranks:
        path: list[int] = []
        rank = start.rank
        while rank >= 0 and rank not in path:
            path.append(rank)
            now = ranks[rank]
            rank = next(iter(now.missing), -1) if now.peer == -2 else now.peer
        if rank >= 0:
            cycle = path[path.index(rank) :]
            low = cycle.index(min(cycle))
            return cycle[low:] + cycle[:low]
    return []


def _communicator(frame: FrameType) -> Any:
    """The communicator whose method, or whose request's method, this is."""
    holder = frame.f_locals.get("self")
    comm = getattr(holder, "_comm", holder)
    return comm if hasattr(comm, "sendrecv") and hasattr(comm, "size") and hasattr(comm, "_wire") else None


def inside(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames of mpipar/comm, from the innermost to the user's."""
    while frame is not None and frame.f_code.co_filename.startswith(HERE):
        yield frame
        frame = frame.f_back


def frame_of(rank: Any) -> FrameType | None:
    """The innermost frame of a rank that waits, also of one that lets messages arrive meanwhile."""
    if rank.greenlet is not getcurrent():
        return rank.greenlet.gr_frame
    frame = sys._getframe()
    while frame is not None and not (frame.f_code.co_name == "block" and next(inside(frame), None)):
        frame = frame.f_back
    return frame


def waiting(rank: Any) -> Waiting:
    """What a rank of a simulation waits for."""
    if rank.ended or rank.waiting is None:
        return Waiting(rank.number, ended=rank.ended)
    pending, where = rank.waiting, where_is(frame_of(rank))
    op, comm, collective, site = (
        (where.op, where.comm, where.collective, where.site) if where else (pending.op, "", "", "")
    )
    if pending.op == "split":
        numbers = pending.group.numbers
        missing = tuple(number for r, number in enumerate(numbers) if r not in pending.given)
        return Waiting(rank.number, "split", comm=comm, site=site, missing=missing)
    side, peer = ("source", pending.source) if pending.op == "recv" else ("dest", pending.dest)
    world = ANY_SOURCE if peer == ANY_SOURCE else pending.home.group.numbers[peer]
    return Waiting(rank.number, op, side, world, pending.tag, comm, collective, site)


def _remedy(stuck: list[Waiting], gone: list[int], cycle: list[int]) -> str:
    if gone:
        return "A rank that has ended sends nothing: let it make the matching call, or wait for another rank."
    inside = {(w.collective, w.site) for w in stuck}
    if any(w.collective for w in stuck) and len(inside) > 1:
        return "The ranks are in different calls: all have to make the same collective calls in one order."
    if cycle and all(w.op == "send" for w in stuck if w.rank in cycle):
        return "All send and nobody receives: let one of them receive first, or use sendrecv."
    if cycle:
        return "Nobody has sent: let one of them send first, or use sendrecv."
    return "Nobody will send a message that fits: compare source, tag and communicator on both sides."
