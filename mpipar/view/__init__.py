"""What people read: analysis of traces, tables, progress on rank 0."""

from mpipar.view.analysis import Kind, kinds
from mpipar.view.console import arguments, console, own_command, progress
from mpipar.view.steps import Hop, hops, print_hops
from mpipar.view.summary import print_summary, report, summary_rows
from mpipar.view.units import readable_bytes, readable_count, readable_path, readable_time

__all__ = [
    "Hop",
    "Kind",
    "arguments",
    "console",
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
    "summary_rows",
]
