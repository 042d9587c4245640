"""The watch under mpirun: a thread a rank that notices when nobody can go on, and says why.

Each rank's thread looks at the rank's ledger every `TICK`. A rank that has been in the same call
since the last look is waiting; its ledger is then written to the node's folder in shared memory
(watch_folder.py). The thread of the lowest rank that is alive reads all of them and asks
diagnose.py. The threads never call MPI, except to end the job. On several nodes rank 0's thread
judges all ranks, and the others' leading threads tell it what it cannot read; see hub.py.

A verdict is printed once, by the rank that first makes the file `verdict` in that folder. Then
the job is ended. A rank that is only slow computes, so it is never reported, however long it takes.
"""

import atexit
import faulthandler
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

from mpipar import failure
from mpipar.comm.diagnose import diagnose
from mpipar.comm.hub import PERIOD, Hub, Spoke
from mpipar.comm.judge import (
    behind_error,
    blamed_line,
    exited,
    final_snapshot,
    from_error,
    last_words,
    never_waited_for,
    raced,
)
from mpipar.comm.ledger import Ledger, States
from mpipar.comm.stuck import never_go_on
from mpipar.comm.verdict import Verdict
from mpipar.comm.watch_folder import WatchFolder, alive, encode
from mpipar.errors import VerdictError
from mpipar.trace import call_site

TICK = 0.05  # s
CONFIRM = 2  # looks that must agree before a deadlock is reported
EXPLAIN = 0.4  # s that an error waits for a better explanation from the other ranks
SETTLED = 1.5  # s that a verdict about several nodes must last, and all of them have confirmed it


class Watch:
    """Checking of one rank under mpirun.

    folder: this node's;   ranks: of this node
    hub: on several nodes: rank 0's Hub, the others' Spoke
    progress: lets MPI deliver what this rank has sent, while it waits at its end for other nodes
    """

    def __init__(
        self,
        folder: WatchFolder,
        ledger: Ledger,
        ranks: list[int],
        size: int,
        strict: bool,
        hub: Hub | Spoke | None = None,
        progress: Callable[[], object] = lambda: None,
    ) -> None:
        self.folder, self.ledger, self.ranks, self.size = folder, ledger, ranks, size
        self._strict, self._progress = strict, progress
        self._hub = hub if isinstance(hub, Hub) else None
        self._spoke = hub if isinstance(hub, Spoke) else None
        self._beside_hub = hub is not None and ranks[0] == 0
        self._stop = threading.Event()
        self._seen, self._since = -1, 0.0  # the counter at the last look, and since when it is that
        self._looked = 0.0
        self._polls, self._polled = 0, 0.0
        self._written: Any = None
        self._suspect, self._suspected, self._agreed = None, 0.0, 0
        self._judged = 0.0
        self._compared: dict[str, int] = {}
        self._wake, wake_up = os.pipe()
        os.set_blocking(wake_up, False)
        self._listen_for_the_end(wake_up)
        self._publish(False)
        failure.explain_with(self.explain)
        atexit.register(self.finish)
        threading.Thread(target=self._run, daemon=True, name="mpipar watch").start()

    # ---- the thread
    def _run(self) -> None:
        inputs = [self._wake] if self._hub is None else [self._wake, self._hub]
        while not self._stop.is_set():
            woken, _, _ = select.select(inputs, [], [], TICK)
            if woken and self._stop.is_set():
                return
            if self._wake in woken:
                self._told_to_end()
            if self._hub in woken:
                self._hub.serve(self._say_here, self._states)
            if time.monotonic() - self._looked < TICK * 0.9:
                continue  # it was the hub that was woken
            self._look()
            states = self._states() if self._leads() else {}
            if states:
                self._lead(states)

    def _look(self) -> None:
        """Publish this rank's ledger if something has changed since the last look."""
        now, ledger = time.monotonic(), self.ledger
        self._looked = now
        if ledger.counter != self._seen:
            self._seen, self._since = ledger.counter, now
        if ledger.polls != self._polls:
            self._polls, self._polled = ledger.polls, now
        doing = ledger.doing
        waits = doing is not None and now - self._since >= TICK * 0.9
        if waits and doing[0] == "poll" and now - self._polled > 4 * TICK:
            waits = False  # it has asked once, and computes
        self._publish(waits)

    def _publish(self, waits: bool) -> None:
        blocked = round(time.monotonic() - self._since, 1) if waits else 0.0
        state = (self.ledger.counter, waits, blocked)
        if state == self._written:
            return
        try:
            data = encode(self.ledger.snapshot(waits, blocked, os.getpid()))
        except RuntimeError:  # a dict grew while it was copied: the rank is not waiting
            return
        if self.ledger.counter != state[0]:
            return
        self.folder.write(data)
        self._written = state

    def _states(self) -> States:
        return self.folder.states(self.ranks)

    def _leads(self) -> bool:
        """Whether no lower rank of this node is still alive."""
        for rank in self.ranks:
            if rank == self.ledger.rank:
                return True
            state = self.folder.read(rank)
            serves = self._beside_hub and rank == 0  # to the last, also after its end
            if state is not None and (serves or not state.gone) and alive(state.pid):
                return False
        return True

    def _lead(self, states: States) -> None:
        """Judge these ranks, or let the hub do it, which knows all."""
        killed = self._killed(states)
        if killed is not None:
            self.announce(killed)
        if self._hub is not None:
            if time.monotonic() - self._judged >= PERIOD / 2:
                self._judge(self._hub.states() | states)
        elif self._beside_hub or self._spoke is None or not self._spoke.report(states):
            self._judge(states)

    def _judge(self, states: States) -> None:
        self._judged = now = time.monotonic()
        verdict = diagnose(states, self.size, self._strict, self._compared)
        if verdict is None:
            self._suspect = None
            return
        # ranks that have no part in it may go on
        involved = never_go_on(states, self.size, self._strict) | {rank for rank, _ in verdict.at_fault}
        suspect = (verdict.kind, [(r, states[r].counter) for r in sorted(involved)])
        if suspect != self._suspect:
            self._suspect, self._suspected, self._agreed = suspect, now, 0
        self._agreed += 1
        settled = self._hub is None or self._hub.heard_since(self._suspected + SETTLED)
        if self._agreed >= CONFIRM and settled and now - self._suspected >= (SETTLED if self._hub else 0):
            self.announce(verdict)

    def _killed(self, states: States) -> Verdict | None:
        dead = [s for s in states.values() if not s.gone and not alive(s.pid)]
        if not dead:
            return None
        blame = [(s.rank, s.last_line) for s in dead]
        lines = [f"rank {s.rank}  its process {s.pid} is gone" for s in dead]
        if len(self.ranks) < self.size:  # which of them was first cannot be told
            lines.append("if it was not the first: MPI ends ranks when one on another node dies")
        return Verdict("rank killed", blame, lines)

    # ---- the end
    def announce(self, verdict: Verdict) -> None:
        """Print the verdict, unless another rank has printed one, and end the job."""
        with suppress(Exception):
            sys.stdout.flush()
        first = self._say_once(verdict.level or "verdict", verdict.text)
        if not first and not verdict.level:
            time.sleep(1)  # the rank that was first ends us
        if not verdict.level:
            time.sleep(failure.HEARD)
            # MPI's own end has been seen to hang while another rank was in Finalize
            faulthandler.dump_traceback_later(1, exit=True, file=open(os.devnull, "w"))  # noqa: SIM115
            self.folder.remove()
            failure.end_now()

    def explain(self, error: BaseException, trace: TracebackType | None) -> None:
        """Called before an exception ends the job: perhaps another rank's mistake is its cause.

        Announces a verdict where there is one, and does not return then.
        """
        verdict = from_error(error, trace, self.ledger.rank)
        if verdict is not None and isinstance(error, VerdictError):
            self.announce(verdict)
        if verdict is not None or blamed_line(trace) is not None:
            self._ask_others()
        if verdict is not None:
            self.announce(verdict)
        self._end_of_watch()

    def _ask_others(self) -> None:
        """Wait a little for the other ranks' ledgers: who else made the call that failed, and how?"""
        far = self._hub or self._spoke
        deadline, looks, verdict = time.monotonic() + EXPLAIN + (2 * PERIOD if far else 0), 0, None
        while time.monotonic() < deadline and (looks < 3 or far):
            self._publish(False)
            verdict = behind_error(self._states() | (far.states() if far else {}))
            looks += verdict is not None  # more ranks may come, and change who is in the minority
            time.sleep(TICK)
        if verdict is not None:
            self.announce(verdict)

    def _end_of_watch(self) -> None:
        """This rank prints what has happened itself; the others are to keep quiet."""
        self._say_once("verdict", "")
        self.folder.remove()
        self._stop.set()

    def finish(self) -> None:
        """At the end of this rank, before MPI is finalized."""
        called = failure.exit_call()
        site = "" if called is None else call_site(called[1])
        self.folder.write(encode(final_snapshot(self.ledger, site, os.getpid())), last=True)
        if failure.failed_exit():
            self.announce(exited(self.ledger.rank, called[0], site))
        verdict = never_waited_for(self.ledger)
        if verdict is not None:
            self.announce(verdict)
        note = raced(self.ledger)
        if note is not None:
            self.announce(note)
        if self._hub is not None:
            self._serve_the_rest(self._hub)
        if self._hub is not None or not self._beside_hub:
            self._say_last_words()
        self._stop.set()

    def _serve_the_rest(self, hub: Hub) -> None:
        """This rank has ended, and judges on while ranks run that it can hear."""
        far = set(range(self.size)) - set(self.ranks)
        while True:
            states = self._states() | hub.states()
            left = [r for r in range(self.size) if r not in states or not states[r].gone]
            if not any(r not in far or hub.in_reach(r) for r in left):
                return
            deadline = time.monotonic() + 2 * TICK
            while time.monotonic() < deadline:
                self._progress()
                time.sleep(TICK / 10)

    def _say_last_words(self) -> None:
        """If this is the last rank to end: of the job, or of a node without a hub."""
        states, ranks = self._states(), self.ranks
        if not _all_gone(states, ranks):
            return
        if self._hub is not None:
            states, ranks = states | self._hub.states(), range(self.size)
        told = self._spoke is not None and self._spoke.tell(states)
        verdict = None if told or not _all_gone(states, ranks) else last_words(states, self._strict)
        if verdict is not None:
            self.announce(verdict)
        self.folder.remove()

    def _say_once(self, name: str, text: str) -> bool:
        """Print the text if nobody has said this yet.   returns: whether this rank was the first"""
        if self._spoke is None or self._beside_hub:
            return self._say_here(name, text)
        return self._say_here(name, "") and self._spoke.say_once(name, text)

    def _say_here(self, name: str, text: str) -> bool:
        """The same among the ranks of this node, and on the hub's for all."""
        if not self.folder.claim(name):
            return False
        if text:
            failure.say(text)
        return True

    def _listen_for_the_end(self, wake_up: int) -> None:
        """mpirun ends the ranks by SIGTERM when one is killed: wake the thread, to say which."""
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            return  # the program has a handler of its own
        signal.signal(signal.SIGTERM, _terminated)
        signal.set_wakeup_fd(wake_up, warn_on_full_buffer=False)

    def _told_to_end(self) -> None:
        """A signal has come. If a rank was killed, that is why; else end as the signal asks."""
        numbers = os.read(self._wake, 64)
        if signal.SIGTERM not in numbers:
            return
        deadline = time.monotonic() + 0.3
        while time.monotonic() < deadline:
            killed = self._killed(self._states())
            if killed is not None:
                self.announce(killed)
            time.sleep(TICK / 5)
        os._exit(128 + signal.SIGTERM)


def _all_gone(states: States, ranks: Iterable[int]) -> bool:
    return all(r in states and states[r].gone for r in ranks)


def _terminated(number: int, frame: FrameType | None) -> None:
    """In the main thread; the watch's thread does the rest, also while the main one is in MPI."""
