"""`mpipar trace summary`: the messages of a run, a line a kind."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from mpipar.comm import Communicator
from mpipar.trace import Trace, read
from mpipar.view.analysis import Kind, kinds
from mpipar.view.console import own_command
from mpipar.view.units import readable_bytes, readable_count, readable_path, readable_time

LEGEND = """\
busiest: the most bytes that one rank sent or received (of collectives: in each call, summed);
bound: the least that this can be; ratio 1.00: no byte was sent in vain."""
NO_RATIO = "parts of the trace are missing, so the counts are of what is left, and there is no ratio"
# text of the user's: no numbers or brackets picked out, and a path on one line however long
AS_IT_IS: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False, "soft_wrap": True}


def summary_rows(trace: Trace) -> list[dict[str, Any]]:
    """The table as data, for --json: bytes and seconds."""
    return [
        {
            "kind": kind.name,
            "calls": kind.calls,
            "messages": kind.messages if kind.seen else None,
            "bytes": kind.bytes if kind.seen else None,
            "seconds_a_rank": float(kind.nanoseconds) / 1e9,
            "busiest_rank_bytes": kind.busiest if kind.seen else None,
            "lower_bound_bytes": float(kind.bound) if kind.bound else None,
            "ratio": kind.ratio,
        }
        for kind in kinds(trace)
    ]


def print_summary(trace: Trace, console: Console) -> None:
    """The table, the sentences about what is missing, and what the columns mean."""
    title = f"Messages of {readable_count(trace.size, 'rank')}"
    table = Table(
        title=title,
        title_justify="left",
        box=SIMPLE_HEAD,
        header_style="bold",
        pad_edge=False,
        collapse_padding=True,  # the longest names leave no room to spare
    )
    table.add_column("kind")
    for column in ("calls", "messages", "bytes", "time/rank", "busiest", "bound", "ratio"):
        table.add_column(column, justify="right", no_wrap=True)
    for kind in kinds(trace):
        table.add_row(*_cells(kind))
    if table.row_count:
        console.print(table)
        console.print(LEGEND, style="dim", highlight=False)
    else:
        console.print("no messages were recorded")
    for problem in trace.problems:
        console.print(f"note: {problem}", style="yellow", **AS_IT_IS)
    if trace.problems and table.row_count:
        console.print(f"note: {NO_RATIO}", style="yellow", **AS_IT_IS)


def report(world: Communicator, console: Console) -> None:
    """End the recording on all ranks; rank 0 prints the table and where the trace lies.

    Collective: every rank calls it, once, when its messages are done.
    """
    recorder = world.recorder
    if recorder is None:
        console.print("no trace was recorded; give --trace FOLDER to see the messages", highlight=False)
        return
    recorder.close()
    world.barrier()
    if world.rank == 0:
        folder = readable_path(recorder.folder)
        console.print()
        print_summary(read(recorder.folder), console)
        again = own_command("trace", "summary", folder)
        console.print(f"the trace lies in {folder}; to see this table again:\n{again}", **AS_IT_IS)


def _cells(kind: Kind) -> list[str]:
    unseen = "unseen"
    return [
        kind.name,
        str(kind.calls),
        "" if kind.is_copy else str(kind.messages) if kind.seen else unseen,
        readable_bytes(kind.bytes) if kind.seen else unseen,
        readable_time(float(kind.nanoseconds) / 1e9),
        "" if kind.is_copy else readable_bytes(kind.busiest) if kind.seen else unseen,
        readable_bytes(float(kind.bound)) if kind.bound else "",
        "" if kind.ratio is None else f"{kind.ratio:.2f}",
    ]
