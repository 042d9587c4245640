"""Pipeline schedules as data: built, written by hand, checked, timed, drawn and lowered to messages."""

from mpipar.schedule.actions import Action, Schedule
from mpipar.schedule.build import SCHEDULES, build, micro_batch_size
from mpipar.schedule.check import Fault, check, find_fault, peaks
from mpipar.schedule.draw import draw_fault, draw_text
from mpipar.schedule.given import schedule_for
from mpipar.schedule.lowering import Message, Step, blocking_cycle, lower, messages_of
from mpipar.schedule.partition import by_count, by_hand, by_weight
from mpipar.schedule.svg import draw_svg
from mpipar.schedule.table import as_csv, as_text, parse, read
from mpipar.schedule.timing import Span, Timeline, Times, timeline, unit_times

__all__ = [
    "SCHEDULES",
    "Action",
    "Fault",
    "Message",
    "Schedule",
    "Span",
    "Step",
    "Timeline",
    "Times",
    "as_csv",
    "as_text",
    "blocking_cycle",
    "build",
    "by_count",
    "by_hand",
    "by_weight",
    "check",
    "draw_fault",
    "draw_svg",
    "draw_text",
    "find_fault",
    "lower",
    "messages_of",
    "micro_batch_size",
    "parse",
    "peaks",
    "read",
    "schedule_for",
    "timeline",
    "unit_times",
]
