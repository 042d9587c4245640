"""What chunks of the array hold: contributions as ranks of the world, those promised, and the numbers."""

import numpy as np

from mpipar.comm.collectives.chunks import starts
from mpipar.view import rerun
from mpipar.view.calls import CallInfo
from mpipar.view.frames import Values


class RankLists(dict):
    """bits -> the world ranks they stand for; one list for equal bits."""

    def __init__(self, ranks: list[int]) -> None:
        super().__init__()
        self._ranks = ranks

    def __missing__(self, bits: int) -> list[int]:
        found = self[bits] = sorted(r for i, r in enumerate(self._ranks) if bits >> i & 1)
        return found


def goal(call: rerun.Call, chunks: list[tuple[int, int]]) -> list[list[int]]:
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


class Numbers:
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
