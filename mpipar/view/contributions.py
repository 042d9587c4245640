"""A collective of a trace, played again: which ranks' contributions each chunk holds after each step.

The algorithms are functions of send and receive, so the call is made once more on virtual ranks
(rerun.py): on sets of ranks in place of numbers, and on the numbers themselves where the trace has
them. Messages of the replay are then held against those of the trace, one by one; only if all agree
is the replay what has happened.

A chunk is a stretch of the array that no message cuts. Its contributions, where operations differ:
    allreduce reduce reduce_scatter scan   the ranks whose numbers are in the sum
    bcast scatter                          the root, once the rank has the chunk
    gather allgather                       the owner of the block, once the rank has it
    alltoall                               chunk d: the ranks whose block for rank d is, or was, here
"""

from collections import defaultdict
from itertools import pairwise

import msgspec
import numpy as np

from mpipar.comm.collectives import ALGORITHMS
from mpipar.comm.collectives.chunks import starts
from mpipar.trace import Event, Trace
from mpipar.view import rerun
from mpipar.view.calls import CallInfo, call_list
from mpipar.view.steps import MESSAGES, SENDS, Hop, hops

__all__ = ["CallInfo", "Frame", "FrameHop", "Replay", "Replayer", "call_list", "replay"]

Row = list[list[int]]  # chunk -> world ranks, sorted
Values = list[list[list[float | str] | None]]  # rank -> chunk -> numbers


class FrameHop(msgspec.Struct):
    """One message of the call.   carries: (chunk, contributing ranks) of each chunk in it"""

    sender: int  # ranks of the world
    receiver: int
    tag: int
    bytes: int
    phase: str
    phase_step: int  # which step of the phase, from 1, of so many:
    phase_steps: int
    start_ns: int  # the send's post, and the end of the receive
    end_ns: int
    carries: list[tuple[int, list[int]]]
    values: list[float | str] | None  # as recorded


class Frame(msgspec.Struct):
    """One logical step: its messages, and what every rank holds after it.

    index: from 1;   state[i][c]: contributions in chunk c on ranks[i];   values: its numbers
    """

    index: int
    hops: list[FrameHop]
    state: list[Row]
    values: Values | None


class Replay(msgspec.Struct):
    """A call and its frames.   `initial` and `state` are empty where `note` says why nothing is drawn;
    beside a drawing `note` says what to know about it.

    chunks: (start, stop) in elements of the whole array;   goal[i][c]: what ranks[i] is to hold
    at the end, [] where nothing is promised;   root, ranks: of the world
    """

    number: int
    operation: str
    algorithm: str
    comm: str
    ranks: list[int]
    root: int
    reduction: str
    dtype: str
    bytes: int
    site: str
    step: int  # of the training
    chunks: list[tuple[int, int]]
    goal: list[Row]
    initial: list[Row]
    initial_values: Values | None
    frames: list[Frame]
    note: str = ""


class Replayer:
    """Replays the calls of one trace; equal calls are played once.   calls: all of them, in order"""

    def __init__(self, trace: Trace) -> None:
        self.calls = call_list(trace)
        call_of = {(r, event.seq): c.number for c in self.calls for r, event in c.parts.items()}
        self._hops: dict[int, list[Hop]] = defaultdict(list)
        self.hops = hops(trace)
        for hop in self.hops:
            self._hops[call_of.get((hop.sender, hop.sent.parent), 0)].append(hop)
        self._messages: dict[tuple[int, int], list[Event]] = defaultdict(list)  # of a rank's collective
        for rank, event in trace.events():
            if event.op in MESSAGES and event.parent >= 0:
                self._messages[rank, event.parent].append(event)
        self._played: dict[rerun.Call, rerun.Rerun] = {}

    def replay(self, number: int) -> Replay:
        """The frames of call `number`, of `calls`."""
        info = self.calls[number - 1]
        mine = {r: self._messages[r, event.seq] for r, event in info.parts.items()}
        made = Replay(
            info.number, info.operation, info.algorithm, info.comm, info.ranks, info.root, info.reduction,
            info.dtype, info.bytes, info.site, info.step, [], [], [], None, [],
        )  # fmt: skip
        made.frames = _frames(self._hops[number])
        made.note = _why_not(info)
        if made.note:
            return made
        call = _call(info, self._hops[number])
        if call not in self._played:
            self._played[call] = rerun.rerun(call)
        played = self._played[call]
        made.note = _difference(info, mine, played)
        if not made.note:
            _draw(made, info, mine, self._hops[number], call, played)
        return made


def replay(trace: Trace, number: int) -> Replay:
    """The frames of the collective call with this number; of many calls, use one Replayer."""
    return Replayer(trace).replay(number)


def _frames(found: list[Hop]) -> list[Frame]:
    """The messages as the trace has them; no contributions yet."""
    steps: dict[str, set[int]] = defaultdict(set)
    for hop in found:
        steps[hop.sent.phase].add(hop.inner)
    place = {phase: {step: k for k, step in enumerate(sorted(own), 1)} for phase, own in steps.items()}
    frames = [Frame(k, [], [], None) for k in range(1, max((hop.inner for hop in found), default=0) + 1)]
    for hop in found:
        e = hop.sent
        own = place[e.phase]
        span = (e.start, hop.received.end)
        made = FrameHop(
            hop.sender, hop.receiver, e.tag, e.bytes, e.phase, own[hop.inner], len(own), *span, [], e.values
        )
        frames[hop.inner - 1].hops.append(made)
    return frames


def _why_not(info: CallInfo) -> str:
    """Why nothing can be drawn; '' where it can."""
    if info.algorithm == "native" or info.operation == "split":
        return "MPI's own: its hops cannot be seen"
    if info.operation == "barrier":
        return "a barrier's messages are empty: only their order counts"
    if info.algorithm == "shared":
        return "the numbers pass through shared memory: its messages are empty, and only say who has arrived"
    if info.algorithm not in ALGORITHMS.get(info.operation, {}):
        return f"{info.name} is not an algorithm of this mpipar: its hops are shown as recorded"
    if len(info.ranks) > rerun.MOST_RANKS:
        return f"{len(info.ranks)} ranks: contributions are drawn for up to {rerun.MOST_RANKS}"
    missing = [r for r in info.ranks if r not in info.parts]
    if missing:
        return f"rank {missing[0]} left no record of this call: only what was recorded is shown"
    return ""


def _call(info: CallInfo, found: list[Hop]) -> rerun.Call:
    p, index = len(info.ranks), {r: i for i, r in enumerate(info.ranks)}
    shape = info.parts[min(info.parts)].shape
    nodes = list(range(p))
    if info.algorithm == "hierarchical":  # a node's ranks are joined by the messages within it
        for hop in found:
            if hop.sent.phase.startswith("within: "):
                low, high = sorted(nodes[index[r]] for r in (hop.sender, hop.receiver))
                nodes = [low if node == high else node for node in nodes]
    root = index.get(info.root, -1)
    return rerun.Call(info.operation, info.algorithm, tuple(shape), p, root, tuple(nodes))


def _difference(info: CallInfo, mine: dict[int, list[Event]], played: rerun.Rerun) -> str:
    """The first message in which the trace is not what the replay sends; '' where they agree."""
    for rank, halves in zip(info.ranks, played.halves, strict=True):
        wanted = [
            (h.is_send, info.ranks[h.peer], h.tag, 0 if played.shrunk else h.elements * info.itemsize)
            for h in halves
        ]
        got = [(e.op in SENDS, e.peer, e.tag, 0 if played.shrunk else e.bytes) for e in mine[rank]]
        if wanted == got:
            continue
        k = next(
            (k for k, (a, b) in enumerate(zip(wanted, got, strict=False)) if a != b),
            min(len(wanted), len(got)),
        )
        said, does = (_said(row[k]) if k < len(row) else "nothing more" for row in (got, wanted))
        return (
            f"the recording is not what {info.name} does here, so only what was recorded is shown: "
            f"message {k + 1} of rank {rank} is {said}, in a replay {does}"
        )
    return ""


def _said(half: tuple[bool, int, int, int]) -> str:
    is_send, peer, tag, nbytes = half
    return f"{'to' if is_send else 'from'} rank {peer} (tag {tag}, {nbytes} bytes)"


def _draw(
    made: Replay, info: CallInfo, mine: dict[int, list[Event]], found: list[Hop], call: rerun.Call,
    played: rerun.Rerun,
) -> None:  # fmt: skip
    """Fill in the chunks, the contributions after each frame, and the numbers where they are known."""
    half_of = {(r, e.seq): k for r, own in mine.items() for k, e in enumerate(own)}
    index = {r: i for i, r in enumerate(info.ranks)}
    lists = _Lists(info.ranks)
    made.chunks = list(pairwise(played.chunks))
    made.goal = [[lists[bits] for bits in row] for row in _goal(call, made.chunks)]
    made.initial = [[lists[bits] for bits in row] for row in played.initial]
    values = _Numbers(info, call, made.chunks)
    made.initial_values = values.initial(played.initial)
    now, last = list(played.initial), [-1] * len(info.ranks)
    rows = list(made.initial)  # a rank that received nothing in a step keeps its row
    by_step: dict[int, list[Hop]] = defaultdict(list)
    for hop in found:
        by_step[hop.inner].append(hop)
    for frame in made.frames:
        for hop, drawn in zip(by_step[frame.index], frame.hops, strict=True):
            sent = played.halves[index[hop.sender]][half_of[hop.sender, hop.sent.seq]]
            drawn.carries = [(chunk, lists[bits]) for chunk, bits in sent.content]
            i = index[hop.receiver]
            last[i] = max(last[i], half_of[hop.receiver, hop.received.seq])
            now[i] = played.after[i][last[i]]
            rows[i] = [lists[bits] for bits in now[i]]
        frame.state = list(rows)
        frame.values = values.after(last, now)
    if played.shrunk:
        made.chunks = [(i * call.elements // played.chunks[-1], j * call.elements // played.chunks[-1])
                       for i, j in made.chunks]  # fmt: skip
        made.note = "replayed on fewer elements to save memory: where chunks begin is not exact"
    elif info.reduction == "mean":
        made.note = "the mean: after the last step each rank divides the sum by the number of ranks in it"


class _Lists(dict):
    """bits -> the world ranks they stand for; one list for equal bits."""

    def __init__(self, ranks: list[int]) -> None:
        super().__init__()
        self._ranks = ranks

    def __missing__(self, bits: int) -> list[int]:
        found = self[bits] = sorted(r for i, r in enumerate(self._ranks) if bits >> i & 1)
        return found


def _goal(call: rerun.Call, chunks: list[tuple[int, int]]) -> list[list[int]]:
    """What each rank's chunks are to hold at the end, as bits; 0 where nothing is promised."""
    p, everybody = call.ranks, (1 << call.ranks) - 1
    owner = (np.searchsorted(starts(call.lengths), [i for i, _ in chunks], "right") - 1).tolist()
    full = [j > i for i, j in chunks]

    def holds(rank: int, chunk: int) -> int:
        at_root, own = rank == call.root, owner[chunk] == rank
        return {
            "allreduce": everybody,
            "iallreduce": everybody,
            "reduce": everybody * at_root,
            "reduce_scatter": everybody * own,
            "scan": (2 << rank) - 1,
            "bcast": 1 << max(call.root, 0),
            "allgather": 1 << owner[chunk],
            "gather": (1 << owner[chunk]) * at_root,
            "scatter": (1 << max(call.root, 0)) * own,
            "alltoall": everybody * own,
        }[call.operation] * full[chunk]

    return [[holds(r, c) for c in range(len(chunks))] for r in range(p)]


class _Numbers:
    """The numbers that chunks hold, where every rank's input was recorded; else all of it is None."""

    def __init__(self, info: CallInfo, call: rerun.Call, chunks: list[tuple[int, int]]) -> None:
        self._call, self._chunks, self._logs = call, chunks, None
        roots = [info.root] if call.operation in ("bcast", "scatter") else info.ranks
        self._inputs = [info.parts[r].values if r in roots else [] for r in info.ranks]
        self._known = None not in self._inputs
        if self._known and call.operation in rerun.REDUCTIONS:
            given = [
                np.array([float(x) if isinstance(x, str) else x for x in own], info.dtype)
                for own in self._inputs
            ]
            with np.errstate(all="ignore"):
                self._logs = rerun.numbers(call, given, info.reduction)

    def initial(self, state: list[list[int]]) -> Values | None:
        return self.after([-1] * self._call.ranks, state)

    def after(self, last: list[int], state: list[list[int]]) -> Values | None:
        """last: each rank's last receive, -1 for none"""
        if not self._known:
            return None
        if self._logs is not None:
            arrays = [log.begun if k < 0 else log.after[k] for log, k in zip(self._logs, last, strict=True)]
            return [[_spelled(own[i:j]) for i, j in self._chunks] for own in arrays]
        return [[self._moved(c, bits) for c, bits in enumerate(row)] for row in state]

    def _moved(self, chunk: int, bits: int) -> list[float | str] | None:
        """What the owners gave for the chunk, one after the other."""
        i, j = self._chunks[chunk]
        if self._call.operation in ("gather", "allgather"):  # each gave its own block only
            i, j = 0, j - i
        owners = [r for r in range(self._call.ranks) if bits >> r & 1]
        return [x for r in owners for x in self._inputs[r][i:j]] if owners else None


def _spelled(numbers: list) -> list[float | str]:
    """What JSON has no number for as text, as traces have it."""
    return [x if np.isfinite(x) else str(x) for x in numbers]
