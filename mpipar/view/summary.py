"""`mpipar trace summary`: where the bytes and the time of a run went."""

from typing import Any

from rich.console import Console
from rich.table import Table

from mpipar.comm import Communicator
from mpipar.trace import Trace, read
from mpipar.view.analysis import Kind, kinds
from mpipar.view.console import own_command
from mpipar.view.pipeline import Bubble, bubbles
from mpipar.view.tables import AS_IT_IS, table_of, wrapped
from mpipar.view.timeline import states
from mpipar.view.training import Activity, activities, load_balance, overlap, run_seconds, speed_up, steps
from mpipar.view.units import (
    percent,
    readable_bytes,
    readable_count,
    readable_path,
    readable_rate,
    readable_time,
)
from mpipar.view.why import Why, told

COLUMNS = ["calls", "messages", "bytes", "time", "share", "busiest", "ratio", "rate"]
LEGEND = """\
time: of a rank, averaged (of what is started: in its waits); share: of its whole time; busiest: the
most bytes that one rank sent or received (of collectives: in each call, summed); ratio: that by the
least that it can be; rate: bytes a second of this rank while it was in its calls."""
BRIEF_COLUMNS = ["calls", "messages", "bytes", "time/rank", "busiest", "bound", "ratio"]
BRIEF_LEGEND = """\
busiest: the most bytes that one rank sent or received (of collectives: in each call, summed);
bound: the least that this can be; ratio 1.00: no byte was sent in vain."""
RANK_LEGEND = """\
exposed: in calls that block; waiting: the part of it in which another rank was late (mpipar trace
why); overlap: of the time with messages under way, what the rank computed meanwhile."""
NO_RATIO = "parts of the trace are missing, so the counts are of what is left, and there is no ratio"
RANKS_SHOWN = 16  # the others by --json


def summary_rows(trace: Trace) -> list[dict[str, Any]]:
    """The table of messages as data, for --json: bytes, seconds, shares of 1."""
    return [
        {
            "kind": kind.name,
            "axis": kind.axis or None,
            "calls": kind.calls,
            "messages": kind.messages if kind.seen else None,
            "bytes": kind.bytes if kind.seen else None,
            "seconds_a_rank": float(kind.nanoseconds) / 1e9,
            "share": kind.share,
            "busiest_rank_bytes": kind.busiest if kind.seen else None,
            "lower_bound_bytes": float(kind.bound) if kind.bound else None,
            "ratio": kind.ratio,
            "bytes_a_second": kind.bandwidth,
        }
        for kind in kinds(trace)
    ]


def summary_report(trace: Trace, serial: Trace | None = None) -> dict[str, Any]:
    """All of the summary as data.   serial: a trace of one rank to compare the time with

    errors: TraceError for a serial trace of several ranks
    """
    tiled = states(trace)
    of_ranks = activities(trace, tiled)
    count, seconds = steps(trace)
    return {
        "size": trace.size,
        "seconds": run_seconds(trace),
        "kinds": summary_rows(trace),
        "ranks": [_activity_row(activity) for activity in of_ranks],
        "load_balance": load_balance(of_ranks),
        "overlap": overlap(of_ranks),
        "steps": count,
        "seconds_a_step": seconds if count else None,
        "pipelines": [vars(bubble) for bubble in bubbles(trace, tiled)],
        "speed_up": None if serial is None else speed_up(trace, serial),
        "problems": trace.problems,
        "notes": trace.notes,
    }


def print_summary(trace: Trace, console: Console, serial: Trace | None = None) -> None:
    """The messages by kind, the ranks by what they did, the figures, and what is missing.

    errors: TraceError for a serial trace of several ranks
    """
    gain = None if serial is None else speed_up(trace, serial)
    shown = _print_kinds(trace, console, brief=False)
    tiled = states(trace)
    of_ranks = activities(trace, tiled)
    if any(activity.span for activity in of_ranks):
        console.print()
        console.print(_rank_table(of_ranks))
        console.print(RANK_LEGEND, style="dim", highlight=False)
        console.print()
        for line in _figures(trace, of_ranks, bubbles(trace, tiled), gain):
            console.print(line, **AS_IT_IS)
    _print_problems(trace, console, shown)


def _print_kinds(trace: Trace, console: Console, brief: bool) -> bool:
    """returns: whether there were any messages;   brief: without shares and rates"""
    found = kinds(trace)
    columns = BRIEF_COLUMNS if brief else COLUMNS
    if any(kind.axis for kind in found):
        columns = ["axis", *columns]
    table = table_of(
        f"Messages of {readable_count(trace.size, 'rank')}", "kind", *columns, left=("kind", "axis")
    )
    for kind in found:
        cells = _cells(kind)
        table.add_row(kind.name, *(cells[column] for column in columns))
    if not found:
        console.print("no messages were recorded")
        return False
    console.print(table)
    console.print(LEGEND if not brief else BRIEF_LEGEND, style="dim", highlight=False)
    return True


def _print_problems(trace: Trace, console: Console, counted: bool) -> None:
    for problem in trace.remarks:
        console.print(f"note: {problem}", style="yellow", **AS_IT_IS)
    if trace.problems and counted:
        console.print(f"note: {NO_RATIO}", style="yellow", **AS_IT_IS)


def report(world: Communicator, console: Console) -> None:
    """End the recording on all ranks; rank 0 prints the messages, where the time went, and where to see more.

    Collective: every rank calls it, once, when its messages are done.
    """
    recorder = world.recorder
    if recorder is None:
        console.print("no trace was recorded; give --trace FOLDER to see the messages", highlight=False)
        return
    world.align_clocks()
    recorder.close()
    world.barrier()
    if world.rank != 0:
        return
    trace, folder = read(recorder.folder), readable_path(recorder.folder)
    console.print()
    _print_problems(trace, console, _print_kinds(trace, console, brief=True))
    _print_short(trace, console)
    again = [own_command("trace", command, folder) for command in ("summary", "why", "html")]
    console.print(f"the trace lies in {folder}; to see more of it:\n" + "\n".join(again), **AS_IT_IS)


def _print_short(trace: Trace, console: Console) -> None:
    """Where the time went, and the costliest wait."""
    why = Why.of(trace)
    of_ranks = activities(trace, why.states)
    whole = sum(a.span for a in of_ranks)
    if not whole:
        return
    compute, waiting = (sum(getattr(a, part) for a in of_ranks) / whole for part in ("compute", "waiting"))
    console.print(
        f"of their time the ranks computed {percent(compute)}, moved data {percent(1 - compute - waiting)} "
        f"and waited for each other {percent(waiting)}",
        **AS_IT_IS,
    )
    if trace.size > 1:
        console.print(wrapped(told(why)[0], console.width), **AS_IT_IS)


def _activity_row(activity: Activity) -> dict[str, Any]:
    return {
        "rank": activity.rank,
        "seconds": activity.span / 1e9,
        "compute_seconds": activity.compute / 1e9,
        "exposed_seconds": activity.exposed / 1e9,
        "waiting_seconds": activity.waiting / 1e9,
        "overlap": activity.overlap,
        "peak_memory_bytes": activity.peak_memory,
    }


def _rank_table(of_ranks: list[Activity]) -> Table:
    places = sorted({place for activity in of_ranks for place in activity.peak_memory})
    columns = ["compute", "share", "exposed", "share", "waiting", "share", "overlap"]
    columns += [f"peak {place}".rstrip() for place in places]
    left = len(of_ranks) - RANKS_SHOWN
    title = "Time of each rank" + (f" ({left} more by --json)" if left > 0 else "")
    table = table_of(title, "rank", *columns)
    for a in of_ranks[:RANKS_SHOWN]:
        cells = [str(a.rank)]
        for ns in (a.compute, a.exposed, a.waiting):
            cells += [readable_time(ns / 1e9), percent(ns / max(a.span, 1))]
        cells.append("" if a.overlap is None else percent(a.overlap))
        cells += [readable_bytes(a.peak_memory.get(place, 0)) for place in places]
        table.add_row(*cells)
    return table


def _figures(
    trace: Trace, of_ranks: list[Activity], pipelines: list[Bubble], gain: dict[str, Any] | None
) -> list[str]:
    lines = [f"run: {readable_time(run_seconds(trace))} from the first event to the last"]
    count, seconds = steps(trace)
    if count:
        lines.append(f"steps: {count}, {readable_time(seconds)} a step")
    balance, shared = load_balance(of_ranks), overlap(of_ranks)
    if balance is not None and len(of_ranks) > 1:
        lines.append(
            f"load balance: max / avg of the computing times {balance:.2f} (1.00: all compute as long)"
        )
    if shared is not None:
        lines.append(
            f"overlap: {percent(shared)} of the time with messages under way is covered by computing"
        )
    lines += [_bubble_line(bubble) for bubble in pipelines]
    if gain is not None:
        lines.append(
            f"speed-up: {gain['speed_up']:.2f} on {readable_count(trace.size, 'rank')}, efficiency "
            f"{percent(gain['efficiency'])} ({gain['compared']}: {readable_time(gain['serial_seconds'])} "
            f"on one rank, {readable_time(gain['seconds'])} here)"
        )
    return lines


def _bubble_line(bubble: Bubble) -> str:
    p, v, m = bubble.ranks, bubble.virtual, bubble.micro_batches
    name = f" {bubble.schedule}" if bubble.schedule else ""
    line = f"pipeline{name}: {percent(bubble.measured)} of the pipeline's time is bubble"
    rounds = f"{readable_count(bubble.stages, 'stage')}, {readable_count(p, 'rank')}, m = {m}, "
    rounds += readable_count(bubble.rounds, "round")
    if bubble.formula is None:
        return f"{line} ({rounds}; no formula for this schedule)"
    shape = "(P-1)/(m+P-1)" if v == 1 else f"(P-1)/({v}m+P-1)"
    return f"{line}, by the formula {shape} {percent(bubble.formula)} ({rounds})"


def _cells(kind: Kind) -> dict[str, str]:
    unseen, time = "unseen", readable_time(float(kind.nanoseconds) / 1e9)
    return {
        "axis": kind.axis,
        "calls": str(kind.calls),
        "messages": "" if kind.is_copy else str(kind.messages) if kind.seen else unseen,
        "bytes": readable_bytes(kind.bytes) if kind.seen else unseen,
        "time": time,
        "time/rank": time,
        "share": percent(kind.share),
        "busiest": "" if kind.is_copy else readable_bytes(kind.busiest) if kind.seen else unseen,
        "bound": readable_bytes(float(kind.bound)) if kind.bound else "",
        "ratio": "" if kind.ratio is None else f"{kind.ratio:.2f}",
        "rate": "" if kind.bandwidth is None else readable_rate(kind.bandwidth),
    }
