"""What people read: analysis of traces, tables, progress on rank 0."""

from mpipar.view.analysis import Kind, kinds
from mpipar.view.console import arguments, console, own_command, progress
from mpipar.view.critical_path import Segment, critical_path
from mpipar.view.steps import Hop, hops, print_hops
from mpipar.view.summary import print_summary, report, summary_rows
from mpipar.view.timeline import State, states
from mpipar.view.units import readable_bytes, readable_count, readable_path, readable_time
from mpipar.view.waits import Wait, waits

__all__ = [
    "Hop",
    "Kind",
    "Segment",
    "State",
    "Wait",
    "arguments",
    "console",
    "critical_path",
    "hops",
    "kinds",
    "own_command",
    "print_hops",
    "print_summary",
    "progress",
    "readable_bytes",
    "readable_count",
    "readable_path",
    "readable_time",
    "report",
    "states",
    "summary_rows",
    "waits",
]
