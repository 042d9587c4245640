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

from mpipar.comm.collectives import ALGORITHMS
from mpipar.trace import MESSAGES, SENDS, Event, Trace
from mpipar.view import rerun
from mpipar.view.calls import CallInfo, call_list
from mpipar.view.chunk_contents import Numbers, RankLists, goal
from mpipar.view.frames import Frame, FrameHop, Replay
from mpipar.view.steps import Hop, hops


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
    if info.algorithm.startswith("shared"):
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
    lists = RankLists(info.ranks)
    made.chunks = list(pairwise(played.chunks))
    made.goal = [[lists[bits] for bits in row] for row in goal(call, made.chunks)]
    made.initial = [[lists[bits] for bits in row] for row in played.initial]
    values = Numbers(info, call, made.chunks)
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
