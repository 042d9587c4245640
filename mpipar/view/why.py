"""`mpipar trace why`: who waited for whom and for what, in sentences, and what to speed up."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from mpipar.trace import Event, Trace
from mpipar.view.blocking import call_name
from mpipar.view.critical_path import UNSEEN, Segment, critical_path
from mpipar.view.losses import UNRECORDED, Behind, Loss, losses, main_scope
from mpipar.view.tables import AS_IT_IS, table_of, wrapped
from mpipar.view.timeline import COMPUTE, State, spans, states
from mpipar.view.units import percent, readable_count, readable_time
from mpipar.view.waits import COLLECTIVE, LATE_SENDER, Unknown, Wait, wait_states

SIGNIFICANT = 0.01  # of a rank's time; less is not worth a sentence
HALF = 0.5  # of the computing on the critical path: a scope that holds so much is worth its name
SHOWN = 8  # sentences and rows; --json has all


@dataclass
class Why:
    """What the sentences are made from.   seconds: the span of the run; own: that of each rank"""

    losses: list[Loss]
    unknown: list[Unknown]
    path: list[Segment]
    own: dict[int, float]
    states: dict[int, list[State]]
    rank: int | None = None

    @classmethod
    def of(cls, trace: Trace, rank: int | None = None) -> "Why":
        found, unknown = wait_states(trace)
        tiled = states(trace, found)
        kept = [wait for wait in found if rank in (None, wait.rank)]
        own = {r: (end - start) / 1e9 for r, (start, end) in spans(trace).items()}
        unknown = [u for u in unknown if rank in (None, u.rank)]
        return cls(losses(kept, tiled), unknown, critical_path(trace, tiled), own, tiled, rank)

    @property
    def seconds(self) -> float:
        return (self.path[-1].end - self.path[0].start) / 1e9 if self.path else 0.0

    def is_significant(self, loss: Loss) -> bool:
        return any(ns / 1e9 >= SIGNIFICANT * self.own[rank] for rank, ns in loss.ns.items())


def sentences(trace: Trace, rank: int | None = None) -> list[str]:
    """Why ranks waited, the costliest first; what cannot be known; then where the run's time went.

    rank: only what this one waited for
    """
    return told(Why.of(trace, rank))


def report(trace: Trace, rank: int | None = None) -> dict[str, Any]:
    """All of it as data, for --json: seconds, and shares of 1."""
    why = Why.of(trace, rank)
    return {
        "size": trace.size,
        "seconds": why.seconds,
        "sentences": told(why),
        "waits": [_loss_row(loss, why) for loss in why.losses],
        "causes": _causes(why),
        "unknown": [
            {"rank": r, "call": call, "site": site, "reason": reason, "seconds": ns / 1e9}
            for (r, call, site, reason), ns in _unknown(why).most_common()
        ],
        "critical_path": {
            "seconds": why.seconds,
            "by_call": _shares(why.path, lambda part: part.what),
            "by_scope": _shares(why.path, lambda part: part.scope),
            "by_site": _shares(why.path, lambda part: part.site),
            "by_rank": _shares(why.path, lambda part: str(part.rank)),
        },
        "problems": trace.problems,
        "notes": trace.notes,
    }


def print_why(trace: Trace, console: Console, rank: int | None = None) -> None:
    """The sentences, the waiting by cause and line, and the critical path by call and line."""
    why = Why.of(trace, rank)
    for sentence in told(why):
        console.print(wrapped(f"- {sentence}", console.width, "  "), **AS_IT_IS)
    if causes := _causes(why):
        title = "Waiting, of all ranks" if rank is None else f"Waiting of rank {rank}"
        console.print()
        table = table_of(title, "cause", "in", "at", "time", "share", "times", left=("cause", "in", "at"))
        for row in causes[:SHOWN]:
            cells = (row["cause"], row["call"], row["site"], readable_time(row["seconds"]))
            table.add_row(*cells, percent(row["share"]), str(row["times"]))
        console.print(table)
    if why.path:
        _print_path(why, console)
    for problem in trace.remarks:
        console.print(f"note: {problem}", style="yellow", **AS_IT_IS)


def _print_path(why: Why, console: Console) -> None:
    """A row a call or scope, and a line with the share of each rank."""
    text = ("what", "scope", "at")
    table = table_of("Critical path", *text, "time", "share", left=text)
    for names, ns in _sums(why.path, lambda part: (part.what, part.scope, part.site)).most_common(SHOWN):
        table.add_row(*names, readable_time(ns / 1e9), percent(ns / 1e9 / max(why.seconds, 1e-9)))
    console.print()
    console.print(table)
    by_rank = _shares(why.path, lambda part: str(part.rank))
    listed = ", ".join(f"rank {rank} {percent(share)}" for rank, share in list(by_rank.items())[:SHOWN])
    more = f" and {len(by_rank) - SHOWN} more" if len(by_rank) > SHOWN else ""
    console.print(wrapped(f"of it on {listed}{more}", console.width), **AS_IT_IS)


def call_text(event: Event, request: Event | None = None, tag: bool = True) -> str:
    """'recv(source=1, tag=0)', 'the wait for isend(dest=2, tag=0)', 'allreduce ring'"""
    if request is not None:
        return f"the wait for {call_text(request, tag=tag)}"
    if event.op not in ("send", "recv", "isend", "irecv"):
        return call_name(event)
    side = "dest" if event.op in ("send", "isend") else "source"
    return f"{event.op}({side}={event.peer}" + (f", tag={event.tag})" if tag else ")")


def told(why: Why) -> list[str]:
    """The sentences of what has been found."""
    if not why.own:
        return ["the trace holds no events, so there is nothing to explain"]
    if why.rank is not None and why.rank not in why.own:
        return [f"the trace holds no events of rank {why.rank}"]
    costly = [loss for loss in why.losses if why.is_significant(loss)]
    found = [_loss_sentence(loss, why) for loss in costly[:SHOWN]]
    if more := costly[SHOWN:]:
        lost = readable_time(sum(loss.total for loss in more) / 1e9)
        found.append(f"{readable_count(len(more), 'further reason')} cost {lost} together")
    who = "no rank" if why.rank is None else f"rank {why.rank}"
    unknown = _unknown_sentences(why)
    if not costly and len(why.own) > 1:
        verb = "waited" if why.rank is None else "did not wait"
        known = ", as far as the trace can tell" if unknown else ""
        found.append(f"{who} {verb} for another for as much as 1 % of its time{known}")
    if not costly and len(why.own) == 1:
        found.append("the trace holds one rank only, so nobody is seen that it could have waited for")
    return found + unknown + _path_sentences(why, certain=not unknown)


def _loss_sentence(loss: Loss, why: Why) -> str:
    wait, ranks = loss.first, sorted(loss.ns)
    mean = loss.total / len(ranks) / 1e9
    share = sum(loss.ns[r] / 1e9 / why.own[r] for r in ranks) / len(ranks)
    many = len(ranks) > 1
    who = _ranks(ranks) + (" each" if many else "")
    of_time = f"{percent(share)} of {'their' if many else 'its'} time"
    times = "" if loss.times.total() == 1 else f" ({loss.times.total()} times{' in all' if many else ''})"
    call = call_text(wait.event, wait.request, len(loss.tags) == 1)
    if wait.cause == COLLECTIVE:
        awaited = f"to {'call' if wait.request is None else 'start'} it, in {call}"
    else:
        awaited = f"to {'send' if wait.cause == LATE_SENDER else 'receive'}, in {call}"
    waited = f"waited {readable_time(mean)}{' on average' if many else ''} ({of_time})"
    return (
        f"{who} {waited} for rank {wait.culprit} {awaited}{_at(wait.event.site)}{times}; "
        f"{_meanwhile(wait, loss.mainly)}"
    )


def _meanwhile(wait: Wait, behind: Behind) -> str:
    did = _did(behind)
    if behind.chain == 1:
        return f"meanwhile rank {behind.rank} {did}"
    late = wait.culprit_event
    call = "its call" if late is None else f"its {late.op}{_at(late.site)}"
    between = f", through {readable_count(behind.chain - 2, 'rank')} between," if behind.chain > 2 else ""
    return (
        f"rank {wait.culprit} came late to {call} because it waited itself{between} "
        f"for rank {behind.rank}, which {did}"
    )


def _did(behind: Behind) -> str:
    if not behind.kind:
        return "did what the trace cannot tell, because the ranks' clocks disagree"
    if behind.kind == UNRECORDED:
        return f"had recorded nothing yet: its first event is its {behind.call}{_at(behind.site)}"
    if behind.kind != COMPUTE:
        return f"was still in {behind.call}{_at(behind.site)}"
    scope = f" in {behind.what}" if behind.what else ""
    return f"computed{scope}, until its {behind.call}{_at(behind.site)}"


def _path_sentences(why: Why, certain: bool) -> list[str]:
    """Where the run's time went; what to speed up only if no waiting is unknown."""
    if not why.path or not why.seconds:
        return []
    (rank, ns), total = _sums(why.path, lambda part: part.rank).most_common(1)[0], why.seconds * 1e9
    here = _sums((p for p in why.path if p.rank == rank), lambda part: part.what + _at(part.site))
    large = [(name, part) for name, part in here.most_common(2) if part >= SIGNIFICANT * total]
    listed = ", ".join(f"{percent(part / total)} {name}" for name, part in large)
    path = "the critical path" if certain else "as far as the trace can tell, the critical path"
    found = [f"{path} runs {percent(ns / total)} of the time on rank {rank}: {listed}"]
    if not certain:
        return found
    for name, part in _path_parts([part for part in why.path if part.what != UNSEEN])[:1]:
        share = f"{percent(part / total)} of the critical path"
        found.append(f"to shorten the run, speed up first {name}: {share}")
    return found


def _path_parts(path: list[Segment]) -> list[tuple[str, int]]:
    """What the path consists of and ns, the largest first: calls by line, computing by its main scope."""
    parts = _sums((p for p in path if p.what != COMPUTE), lambda part: part.what + _at(part.site))
    scopes = _sums((p for p in path if p.what == COMPUTE), lambda part: part.scope)
    if scopes:
        scope, ns = main_scope(scopes, HALF)
        parts[f"{COMPUTE} in {scope}" if scope else COMPUTE] = ns
    return parts.most_common()


def _unknown_sentences(why: Why) -> list[str]:
    return [
        f"rank {rank} spent {readable_time(ns / 1e9)} in {call}{_at(site)}; whether it waited is unknown, "
        f"because {reason}"
        for (rank, call, site, reason), ns in _unknown(why).most_common(SHOWN)
        if ns / 1e9 >= SIGNIFICANT * why.own[rank]
    ]


def _unknown(why: Why) -> Counter[tuple[int, str, str, str]]:
    """ns by rank, call, site and reason."""
    found: Counter[tuple[int, str, str, str]] = Counter()
    for rank, event, reason in why.unknown:
        found[rank, call_text(event, tag=False), event.site, reason] += event.end - event.start
    return found


def _loss_row(loss: Loss, why: Why) -> dict[str, Any]:
    wait, behind = loss.first, loss.mainly
    return {
        "cause": wait.cause,
        "call": call_text(wait.event, wait.request, len(loss.tags) == 1),
        "site": wait.event.site,
        "culprit": wait.culprit,
        "culprit_site": wait.culprit_event.site if wait.culprit_event else "",
        "seconds": loss.total / 1e9,
        "times": loss.times.total(),
        "ranks": {str(rank): ns / 1e9 for rank, ns in sorted(loss.ns.items())},
        "behind": behind._asdict() | {"kind": behind.kind or None},
        "sentence": _loss_sentence(loss, why),
    }


def _causes(why: Why) -> list[dict[str, Any]]:
    """Waiting by cause, call and line.   share: of the time of all ranks, or of the rank's asked about"""
    ns: Counter[tuple[str, str, str]] = Counter()
    times: Counter[tuple[str, str, str]] = Counter()
    for loss in why.losses:
        event, request = loss.first.event, loss.first.request
        key = (loss.first.cause, request.op if request else call_name(event), event.site)
        ns[key] += loss.total
        times[key] += loss.times.total()
    whole = sum(s for rank, s in why.own.items() if why.rank in (None, rank)) or 1.0
    return [
        {
            "cause": cause,
            "call": call,
            "site": site,
            "seconds": lost / 1e9,
            "share": lost / 1e9 / whole,
            "times": times[cause, call, site],
        }
        for (cause, call, site), lost in ns.most_common()
    ]


def _shares(path: list[Segment], name: Callable[[Segment], str]) -> dict[str, float]:
    """Share of the path by a name of its segments, the largest first."""
    found = _sums(path, name)
    return {key: ns / max(found.total(), 1) for key, ns in found.most_common()}


def _sums(path: Iterable[Segment], name: Callable[[Segment], Any]) -> Counter[Any]:
    """ns of the path by a name of its segments."""
    found: Counter[Any] = Counter()
    for part in path:
        found[name(part)] += part.length
    return found


def _ranks(ranks: list[int]) -> str:
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    if len(ranks) > 4:
        return f"{len(ranks)} ranks"
    return f"ranks {', '.join(map(str, ranks[:-1]))} and {ranks[-1]}"


def _at(site: str) -> str:
    return f" at {site}" if site else ""
