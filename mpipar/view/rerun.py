"""Makes a collective call once more, on virtual ranks and on what stands for numbers, and keeps a log.

A log has each rank's halves of messages in the order they were posted, and the rank's array as it
was when the next message was received, which is after the algorithm has added what came.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from mpipar.comm import collectives
from mpipar.comm.collectives import combine, part_lengths
from mpipar.comm.collectives.chunks import starts
from mpipar.comm.virtual import run
from mpipar.settings import CommandLine

MOST_RANKS = 64  # bits of the largest whole number that NumPy can hold
MOST_BYTES = 256 << 20
REDUCTIONS = ("allreduce", "iallreduce", "reduce", "reduce_scatter", "scan")
COMM, ADD = object(), object()  # stand in an algorithm's arguments for what only the rank can make
BLOCKS = ("reduce_scatter", "allgather", "gather", "scatter", "alltoall")

Content = list[tuple[int, int]]  # (chunk, its contributions as bits: bit r for rank r)


class Call(NamedTuple):
    """What an algorithm depends on.   shape: of the whole array;   nodes: which node each rank is on"""

    operation: str
    algorithm: str
    shape: tuple[int, ...]
    ranks: int
    root: int
    nodes: tuple[int, ...]

    @property
    def elements(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def lengths(self) -> list[int]:
        """Elements of each rank's block."""
        rows = self.shape[0] if self.shape else 1
        return [n * (self.elements // rows if rows else 0) for n in part_lengths(rows, self.ranks)]


class Half(NamedTuple):
    """One rank's side of a message.   peer: rank of the communicator;   span: its stretch of the array"""

    is_send: bool
    peer: int
    tag: int
    elements: int
    span: tuple[int, int] | None
    content: Any


@dataclass
class Log:
    """One rank's.   flat: the array that messages are cut from;   begun: `look` at it before the first

    read: a message's buffer and its stretch of flat -> its content
    after: half that is a receive -> `look` at flat when what came had been used
    open: the half that was received last and may not have been used yet, -1 for none
    """

    flat: Any
    look: Callable[[Any], Any]
    read: Callable[[Any, Any], Any]
    halves: list[Half] = field(default_factory=list)
    after: dict[int, Any] = field(default_factory=dict)
    begun: Any = None
    open: int = -1

    def post(self, is_send: bool, x: Any, peer: int, tag: int) -> int:
        span = _span(x, self.flat)
        content = self.read(x, span) if is_send else None
        self.halves.append(Half(is_send, peer, tag, x.size, span, content))
        return len(self.halves) - 1

    def settle(self) -> None:
        """What was received last has been used."""
        if self.open >= 0:
            self.after[self.open] = self.look(self.flat)
        self.open = -1

    def received(self, half: int, x: Any) -> None:
        self.open = half
        self.halves[half] = self.halves[half]._replace(content=self.read(x, self.halves[half].span))


class Observer:
    """What an algorithm is given in place of Hops: the ranks of `world`, and a log of their messages."""

    phase = ""

    def __init__(self, world: Any, log: Log, nodes: Sequence[int], members: Sequence[int]) -> None:
        self._world, self._log, self._members = world, log, list(members)
        self.rank, self.size = self._members.index(world.rank), len(self._members)
        self.nodes, self.kept = [nodes[r] for r in members], {}
        self._all_nodes = nodes

    def among(self, ranks: list[int], stage: str = "") -> "Observer":
        return Observer(self._world, self._log, self._all_nodes, [self._members[r] for r in ranks])

    def send(self, x: Any, dest: int, tag: int = 0) -> None:
        self._log.post(True, x, self._members[dest], tag)
        self._world.send(x, self._members[dest], tag)

    def recv(self, out: Any, source: int, tag: int) -> Any:
        self._log.settle()
        half = self._log.post(False, out, self._members[source], tag)
        self._world.recv(out, self._members[source], tag)
        self._log.received(half, out)
        return out

    def sendrecv(
        self, x: Any, dest: int, source: int, tag: int = 0, out: Any = None, recv_tag: int | None = None
    ) -> Any:
        self._log.settle()
        dest, source, recv_tag = (
            self._members[dest],
            self._members[source],
            tag if recv_tag is None else recv_tag,
        )
        out = np.empty_like(x) if out is None else out
        self._log.post(True, x, dest, tag)
        half = self._log.post(False, out, source, recv_tag)
        self._world.sendrecv(x, dest, source, tag, out, recv_tag)
        self._log.received(half, out)
        return out

    def isend(self, x: Any, dest: int, tag: int = 0) -> Any:
        self._log.post(True, x, self._members[dest], tag)
        return self._world.isend(x, self._members[dest], tag)

    def irecv(self, out: Any, source: int, tag: int) -> "_Receiving":
        half = self._log.post(False, out, self._members[source], tag)
        return _Receiving(self._log, half, out, self._world.irecv(out, self._members[source], tag))


class _Receiving:
    def __init__(self, log: Log, half: int, out: Any, request: Any) -> None:
        self._log, self._half, self._out, self._request = log, half, out, request

    def wait(self) -> Any:
        self._log.settle()
        self._request.wait()
        self._log.received(self._half, self._out)
        return self._out


@dataclass
class Rerun:
    """chunks: where each begins, and behind the last one;   halves: of each rank, `content` as Content

    initial: rank -> chunk -> bits;   after: rank -> half that is a receive -> chunk -> bits
    """

    chunks: list[int]
    halves: list[list[Half]]
    initial: list[list[int]]
    after: list[dict[int, list[int]]]
    shrunk: bool


def rerun(call: Call) -> Rerun:
    """The contributions of a call.   cost: two runs of it on virtual ranks, in 1 … 8 bytes an element"""
    small = _shrunk(call)
    spans = run_on(small, [np.zeros(small.elements, np.uint8)] * small.ranks, _or, _nothing, _nothing)
    begin = _boundaries(small, spans)
    play = _sums if call.operation in REDUCTIONS else _moves
    return play(small, begin, small is not call)


def numbers(call: Call, given: list[Any], reduction: str) -> list[Log]:
    """The logs of a reduction on each rank's numbers: all of the array after each receive."""
    return run_on(call, given, combine(reduction), lambda flat: flat.tolist(), _nothing)


def run_on(call: Call, given: list[Any], add: Any, look: Callable, read: Callable) -> list[Log]:
    """Run the algorithm with each rank's array.   returns: the ranks' logs"""

    def body(world: Any) -> Log:
        args, flat = _arguments(call, given[world.rank], world.rank)
        log = Log(flat, look, read)
        log.begun = look(flat)
        algorithm = collectives.ALGORITHMS[call.operation][call.algorithm].run
        comm = Observer(world, log, call.nodes, range(world.size))
        steps = algorithm(*(comm if a is COMM else add if a is ADD else a for a in args))
        for requests in steps or ():  # of a started collective, which is a generator
            for request in requests:
                request.wait()
        log.settle()
        return log

    return run(body, call.ranks, trace=CommandLine(""), check="off")


def _arguments(call: Call, mine: Any, rank: int) -> tuple[list[Any], Any]:
    """What the communicator would hand to the algorithm, and the array that its messages are cut from."""
    lengths, at_root = call.lengths, rank == call.root
    begin = starts(lengths)
    block = slice(begin[rank], begin[rank + 1])
    flat = np.array(mine)
    match call.operation:
        case "allreduce" | "iallreduce" | "scan":
            return [flat, COMM, ADD], flat
        case "reduce":
            return [flat, COMM, ADD, call.root], flat
        case "reduce_scatter":
            return [flat, lengths, COMM, ADD], flat
        case "bcast":
            return [flat, COMM, call.root], flat
        case "allgather":
            return [flat, lengths, COMM], flat
        case "gather":
            out = np.zeros_like(flat) if at_root else None
            return [flat[block].copy(), out, lengths, COMM, call.root], flat
        case "scatter":
            return [flat if at_root else None, np.zeros_like(flat[block]), lengths, COMM, call.root], flat
        case "alltoall":
            table = flat.reshape(call.ranks, -1)
            return [table, np.zeros_like(table), COMM], flat
    raise AssertionError(call.operation)


def _sums(call: Call, begin: list[int], shrunk: bool) -> Rerun:
    """Every rank's array holds its bit; to add is to unite."""
    bits = np.min_scalar_type((1 << call.ranks) - 1)
    at = np.array(begin[:-1], int)
    given = [np.full(call.elements, 1 << r, bits) for r in range(call.ranks)]

    def look(flat: Any) -> list[int]:
        return flat[at].tolist()

    def read(x: Any, span: tuple[int, int] | None) -> Content:
        low, high = np.searchsorted(at, span).tolist() if span else (0, 0)
        return [(c, int(x[begin[c] - span[0]])) for c in range(low, high)]

    logs = run_on(call, given, _or, look, read)
    return Rerun(begin, [g.halves for g in logs], [g.begun for g in logs], [g.after for g in logs], shrunk)


def _moves(call: Call, begin: list[int], shrunk: bool) -> Rerun:
    """Every element says whose it is and of which chunk: 1 + owner * chunks + chunk, 0 for nothing."""
    p, count = call.ranks, len(begin) - 1
    widths = np.diff(begin)
    kind = np.min_scalar_type(p * count)
    has = [_owned(call, r, begin) for r in range(p)]
    codes = [[1 + r * count + c if c in has[r] else 0 for c in range(count)] for r in range(p)]
    given = [np.repeat(np.array(row, kind), widths) for row in codes]

    def read(x: Any, span: Any) -> Content:
        codes = x.reshape(-1)
        first = codes[np.flatnonzero(np.diff(codes, prepend=0))] if codes.size else codes
        return [((int(code) - 1) % count, 1 << (int(code) - 1) // count) for code in first if code]

    logs = run_on(call, given, _or, _nothing, read)
    initial = [[1 << r if c in has[r] else 0 for c in range(count)] for r in range(p)]
    after = [_held(log, row) for log, row in zip(logs, initial, strict=True)]
    return Rerun(begin, [log.halves for log in logs], initial, after, shrunk)


def _held(log: Log, row: list[int]) -> dict[int, list[int]]:
    """What a rank has had after each of its receives."""
    found: dict[int, list[int]] = {}
    for number, half in enumerate(log.halves):
        if not half.is_send:
            row = row.copy()
            for chunk, bits in half.content:
                row[chunk] |= bits
            found[number] = row
    return found


def _owned(call: Call, rank: int, begin: list[int]) -> set[int]:
    """The chunks that a rank has at the start; those of no elements are nobody's."""
    full = {c for c, (i, j) in enumerate(pairwise(begin)) if i < j}
    if call.operation in ("bcast", "scatter"):
        return full if rank == call.root else set()
    return full if call.operation == "alltoall" else full & {rank}


def _boundaries(call: Call, logs: list[Log]) -> list[int]:
    """Where chunks begin: the blocks of a call that has blocks, and wherever a message begins or ends."""
    if call.operation in BLOCKS and call.operation != "reduce_scatter":
        return starts(call.lengths)
    cuts = {0, call.elements, *(starts(call.lengths) if call.operation == "reduce_scatter" else ())}
    for log in logs:
        cuts.update(cut for half in log.halves if half.span for cut in half.span)
    return sorted(cuts)


def _shrunk(call: Call) -> Call:
    """The same call on fewer elements where it would take too much memory; the cuts stay in proportion."""
    itemsize = np.min_scalar_type((1 << call.ranks) - 1).itemsize
    if 4 * call.ranks * call.elements * itemsize <= MOST_BYTES:
        return call
    p = call.ranks
    unit = p << (p.bit_length() - 1)  # p and the power of two below it cut the remainder alike
    rows = call.shape[0] if call.operation in BLOCKS else call.elements
    return call._replace(shape=(rows % unit + 8 * unit,))


def _span(x: Any, flat: Any) -> tuple[int, int] | None:
    """The stretch of flat that x is; None where x is another array."""
    offset = x.__array_interface__["data"][0] - flat.__array_interface__["data"][0]
    begin = offset // flat.itemsize
    inside = offset >= 0 and begin + x.size <= flat.size and np.may_share_memory(x, flat)
    return (begin, begin + x.size) if inside and x.size else None


def _or(mine: Any, theirs: Any, out: Any = None) -> None:
    np.bitwise_or(mine, theirs, out=mine if out is None else out)


def _nothing(*_: Any) -> None:
    return None
