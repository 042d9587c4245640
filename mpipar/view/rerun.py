"""Makes a collective call once more, on virtual ranks and on what stands for numbers; observer.py logs it."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from mpipar.comm import collectives
from mpipar.comm.collectives import combine, part_lengths
from mpipar.comm.collectives.chunks import starts
from mpipar.comm.virtual import run
from mpipar.settings import CommandLine
from mpipar.view.observer import Half, Log, Observer

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


def _or(mine: Any, theirs: Any, out: Any = None) -> None:
    np.bitwise_or(mine, theirs, out=mine if out is None else out)


def _nothing(*_: Any) -> None:
    return None
