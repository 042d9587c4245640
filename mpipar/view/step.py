"""`mpipar sim --step`: stop before each message and look at all ranks.

next (n, or Enter)   let this message arrive and stop before the next
collective (c)       go on until this message's collective is over on the rank that sent it
run (r)              go on to the end
quit (q)             end the run here
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mpipar.comm.deadlock import frame_of, inside, waiting, where_is
from mpipar.comm.delivery import Message
from mpipar.comm.virtual import Job
from mpipar.view.console import WIDTH
from mpipar.view.units import readable_bytes, readable_time

SHOWN_RANKS = 12  # of more, those around the sender and the receiver
SHOWN_NUMBERS = 8
KEYS = "next (n)   to the end of the collective (c)   run (r)   quit (q)"


class Stepper:
    """Called before each message of a job; `read_key` is asked for what to do."""

    def __init__(
        self, job: Job, screen: Console | None = None, read_key: Callable[[], str] | None = None
    ) -> None:
        self._ranks = job.scheduler.ranks
        self._screen = screen or Console(
            width=WIDTH, file=sys.stdout, highlight=False, markup=False, emoji=False
        )
        self._read_key = read_key or key_reader(sys.stdin)
        self._count = 0
        self._running = False
        self._until: tuple[Any, Any] | None = None  # (rank, frame): until the rank has left the frame

    def __call__(self, message: Message, time: float) -> None:
        self._count += 1
        if self._running or self._is_inside():
            return
        self._show(message, time)
        while True:
            key = self._read_key()
            if key in ("n", ""):
                return
            if key == "r":
                self._running = True
                return
            if key == "c":
                where = message.site
                self._until = (message.sender, where.frame) if where and where.collective else None
                return
            if key == "q":
                raise KeyboardInterrupt
            self._screen.print(f"{key!r} is no key; {KEYS}")

    def _is_inside(self) -> bool:
        if self._until is None:
            return False
        rank, frame = self._until
        if any(f is frame for f in inside(frame_of(rank))):
            return True
        self._until = None
        return False

    def _show(self, message: Message, time: float) -> None:
        sender, receiver = message.sender.number, message.home.me.number
        screen, where = self._screen, message.site
        part = f", in {where.collective} on {where.comm}" if where and where.collective else ""
        site = f", {file_line(where.site)}" if where else ""
        screen.print()
        screen.print(Text(f"message {self._count} at {readable_time(time)}{part}{site}", style="bold"))
        data, nbytes = message.data, readable_bytes(message.nbytes)
        screen.print(
            Text(
                f"rank {sender} → rank {receiver}   tag {message.tag}, {nbytes} {data.dtype}: {numbers(data)}"
            )
        )
        table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold", width=min(screen.width, WIDTH))
        for name, width in (("rank", 4), ("clock", 7), ("is in", None), ("its buffer", 28)):
            table.add_column(name, width=width, no_wrap=True, overflow="ellipsis")
        for rank in self._chosen(sender, receiver):
            style = "green" if rank.number == sender else "cyan" if rank.number == receiver else ""
            table.add_row(*self._row(rank), style=style)
        screen.print(table)
        left_out = len(self._ranks) - min(len(self._ranks), SHOWN_RANKS)
        screen.print(f"{f'{left_out} more ranks   ' if left_out else ''}{KEYS}", style="dim")

    def _chosen(self, sender: int, receiver: int) -> list[Any]:
        first = sorted({sender, receiver})
        others = sorted(self._ranks, key=lambda r: (min(abs(r.number - f) for f in first), r.number))
        return sorted(others[:SHOWN_RANKS], key=lambda rank: rank.number)

    def _row(self, rank: Any) -> tuple[str, str, str, str]:
        clock = readable_time(rank.clock) if rank.clock else "0"
        if rank.ended or not rank.started:
            return str(rank.number), clock, "has ended" if rank.ended else "has not begun", ""
        where = where_is(frame_of(rank))
        if rank.waiting is None:
            return str(rank.number), clock, "is on its way", numbers(working_array(where, None))
        call = waiting(rank)
        does = replace(call, site=file_line(call.site)).call()
        return str(rank.number), clock, does, numbers(working_array(where, rank.waiting))


def file_line(site: str) -> str:
    """file:line without the folder."""
    return site.rpartition("/")[2]


def working_array(where: Any, pending: Any) -> Any:
    """The array that a rank works on: a collective's, or of the message that it waits for."""
    if where is not None and where.collective:
        for name in ("flat", "out", "x"):
            array = where.frame.f_locals.get(name)
            if hasattr(array, "shape"):
                return array
    return getattr(pending, "buffer", None)


def numbers(array: Any) -> str:
    """The first numbers of an array."""
    if array is None:
        return ""
    flat = np.asarray(array.get() if hasattr(array, "get") else array).reshape(-1)
    more = " …" if flat.size > SHOWN_NUMBERS else ""
    return " ".join(f"{x:g}" if flat.dtype.kind == "f" else str(x) for x in flat[:SHOWN_NUMBERS]) + more


def key_reader(stdin: Any) -> Callable[[], str]:
    """Reads one key from a terminal, else a line; "r" when there is no more to read."""
    if stdin is not None and stdin.isatty():
        try:
            return _terminal_reader(stdin)
        except ImportError:  # Windows has no termios: there a key is followed by Enter
            pass

    def read_line() -> str:
        line = stdin.readline() if stdin is not None else ""
        return line.strip().lower()[:1] if line else "r"

    return read_line


def _terminal_reader(stdin: Any) -> Callable[[], str]:
    import termios
    import tty

    def read_key() -> str:
        before = termios.tcgetattr(stdin)
        try:
            tty.setcbreak(stdin)
            return stdin.read(1).strip().lower()
        finally:
            termios.tcsetattr(stdin, termios.TCSADRAIN, before)

    return read_key
