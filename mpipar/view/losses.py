"""What was lost by waiting: the waits of a run put together by their reason, and what lies behind.

A reason is the cause, the call and its line, and the culprit. Behind a wait stands what the culprit
was mostly doing meanwhile; where that was waiting, too, what its own culprit was doing, and so on
to the rank at which the chain ends.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from mpipar.view.timeline import COMPUTE, State
from mpipar.view.waits import Wait

UNRECORDED = "unrecorded"
MOST = 0.8  # of the computing in a stretch: the scope that holds so much names it all


class Behind(NamedTuple):
    """What rank, at the end of a chain of so many ranks, was doing.

    kind: of its state; UNRECORDED before its first event; "" where clocks that disagree hide it
    what: the scope of its computing, or its call
    call, site: the call it was in, or to which it came late from computing
    """

    rank: int
    chain: int
    kind: str
    what: str = ""
    call: str = ""
    site: str = ""


@dataclass
class Loss:
    """All waits of one reason.   ns, times: by the rank that waited;   behind: ns by what lay behind"""

    first: Wait
    ns: Counter[int] = field(default_factory=Counter)
    times: Counter[int] = field(default_factory=Counter)
    tags: set[int] = field(default_factory=set)
    behind: Counter[Behind] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return self.ns.total()

    @property
    def mainly(self) -> Behind:
        return self.behind.most_common(1)[0][0]


def losses(found: list[Wait], tiled: dict[int, list[State]]) -> list[Loss]:
    """The waits by their reason, the one that cost most first."""
    origins, by_reason = _Origins(tiled), {}
    for wait in found:
        message, late = wait.request or wait.event, wait.culprit_event
        key = (wait.cause, wait.event.op, message.op, message.algorithm, wait.event.site, wait.culprit)
        key = (*key, late and late.op, late and late.site)
        loss = by_reason.setdefault(key, Loss(wait))
        loss.ns[wait.rank] += wait.length
        loss.times[wait.rank] += 1
        loss.tags.add(message.tag)
        loss.behind[origins.of(wait)] += wait.length
    return sorted(by_reason.values(), key=lambda loss: -loss.total)


@dataclass
class Did:
    """ns of a stretch by kind of state, of its computing by scope; and the longest state of a kind."""

    kinds: Counter[str] = field(default_factory=Counter)
    scopes: Counter[str] = field(default_factory=Counter)
    longest: dict[str, State] = field(default_factory=dict)

    def add(self, states: Iterable[State]) -> "Did":
        for state in states:
            self.kinds[state.kind] += state.length
            if state.kind == COMPUTE:
                self.scopes[state.label] += state.length
            elif state.kind not in self.longest or state.length > self.longest[state.kind].length:
                self.longest[state.kind] = state
        return self

    def copy(self) -> "Did":
        return Did(self.kinds.copy(), self.scopes.copy(), self.longest.copy())


class _Origins:
    """Finds what lies behind a wait; each wait is looked into once."""

    def __init__(self, tiled: dict[int, list[State]]) -> None:
        self._tiled = tiled
        self._starts = {rank: [state.start for state in own] for rank, own in tiled.items()}
        self._known: dict[tuple[int, int], Behind] = {}  # by rank and start of the wait
        self._whole: dict[tuple[int, int, int], Did] = {}  # by rank, first and last state

    def of(self, wait: Wait) -> Behind:
        passed, key = [], (wait.rank, wait.start)
        while key not in self._known:
            passed.append(key)
            self._known[key] = Behind(wait.culprit, 1, "")  # where a circle ends, of clocks that disagree
            main = self._main(wait)
            if not isinstance(main, State) or main.wait is None:
                self._known[key] = _behind(wait, main)
                break
            wait = main.wait
            key = (wait.rank, wait.start)
        found = self._known[key]
        for earlier in reversed(passed):
            if earlier != key:
                found = self._known[earlier] = found._replace(chain=found.chain + 1)
        return found

    def _main(self, wait: Wait) -> State | tuple[str, str] | None:
        """What the culprit mostly did during the wait: a call, or ("compute", scope)."""
        states, starts = self._tiled.get(wait.culprit, []), self._starts.get(wait.culprit, [])
        first, last = max(bisect_right(starts, wait.start) - 1, 0), bisect_right(starts, wait.end - 1)
        if last - first <= 2:
            return _mainly(states[first:last], wait, Did())
        inner = (wait.culprit, first + 1, last - 1)  # alike for all that wait for this one in a collective
        if inner not in self._whole:
            self._whole[inner] = Did().add(states[first + 1 : last - 1])
        return _mainly([states[first], states[last - 1]], wait, self._whole[inner].copy())


def _mainly(edges: list[State], wait: Wait, did: Did) -> State | tuple[str, str] | None:
    """The same, of what lies wholly inside the wait, and of states that may reach beyond it."""
    cut = [s._replace(start=max(s.start, wait.start), end=min(s.end, wait.end)) for s in edges]
    did.add(state for state in cut if state.end > state.start)
    if not did.kinds:
        return None
    kind = did.kinds.most_common(1)[0][0]
    return (COMPUTE, main_scope(did.scopes)[0]) if kind == COMPUTE else did.longest[kind]


def main_scope(scopes: Counter[str], most: float = MOST) -> tuple[str, int]:
    """The innermost scope that holds this share of the time, and its ns;   ("", all): none does"""
    within: Counter[str] = Counter({"": scopes.total()})
    for scope, ns in scopes.items():
        parts = scope.split("/") if scope else []
        for depth in range(1, len(parts) + 1):
            within["/".join(parts[:depth])] += ns
    enough = [scope for scope, ns in within.items() if scope and ns >= most * within[""]]
    scope = max(enough, key=lambda scope: (scope.count("/"), within[scope]), default="")
    return scope, within[scope]


def _behind(wait: Wait, main: State | tuple[str, str] | None) -> Behind:
    if isinstance(main, State):
        site = "" if main.event is None else main.event.site
        return Behind(wait.culprit, 1, main.kind, main.label, main.label, site)
    late = wait.culprit_event
    kind, scope = (UNRECORDED, "") if main is None else main
    return Behind(
        wait.culprit, 1, kind, scope, "" if late is None else late.op, "" if late is None else late.site
    )
