"""What happened: events, one append-only file a rank, and reading them back."""

from mpipar.trace.ambient import backward_here, record_here, recorder_here, scope_here
from mpipar.trace.event import COLLECTIVES, FORMAT, STARTED, Clock, Event, Footer, Group, Header
from mpipar.trace.recorder import Recorder, call_site, prepare_folder, site_of
from mpipar.trace.store import RankTrace, Trace, collective_calls, pair_messages, read

__all__ = [
    "COLLECTIVES",
    "FORMAT",
    "STARTED",
    "Clock",
    "Event",
    "Footer",
    "Group",
    "Header",
    "RankTrace",
    "Recorder",
    "Trace",
    "backward_here",
    "call_site",
    "collective_calls",
    "pair_messages",
    "prepare_folder",
    "read",
    "record_here",
    "recorder_here",
    "scope_here",
    "site_of",
]
