"""The watch under mpirun: a thread a rank that notices when nobody can go on, and says why.

Each rank's thread looks at the rank's ledger every `TICK`. A rank that has been in the same call
since the last look is waiting; its ledger is then written to the node's folder in shared memory.
The thread of the lowest rank that is alive reads all of them and asks diagnose.py. The threads
never call MPI, except to end the job.

A verdict is printed once, by the rank that first makes the file `verdict` in that folder. Then
the job is ended. A rank that is only slow computes, so it is never reported, however long it takes.
"""

import atexit
import faulthandler
import os
import select
import shutil
import signal
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import msgspec

from mpipar import failure
from mpipar.comm.diagnose import States, diagnose
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
from mpipar.comm.ledger import Ledger, Snapshot
from mpipar.comm.verdict import Verdict
from mpipar.errors import VerdictError
from mpipar.trace import call_site

TICK = 0.05  # s
CONFIRM = 2  # looks that must agree before a deadlock is reported
EXPLAIN = 0.4  # s that an error waits for a better explanation from the other ranks
PREFIX = "mpipar-watch-"


class Watch:
    """Checking of one rank under mpirun.

    folder: of this node, made by `make_folder` on one rank and known to all;   ranks: of this node
    """

    def __init__(self, folder: Path, ledger: Ledger, ranks: list[int], size: int, strict: bool) -> None:
        self.folder, self.ledger, self.ranks, self.size = folder, ledger, ranks, size
        self._strict = strict
        self._stop = threading.Event()
        self._encode, self._decode = (
            msgspec.msgpack.Encoder().encode,
            msgspec.msgpack.Decoder(Snapshot).decode,
        )
        self._seen, self._since = -1, 0.0  # the counter at the last look, and since when it is that
        self._polls, self._polled = 0, 0.0
        self._written: Any = None
        self._suspect, self._agreed = None, 0
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
        while not self._stop.is_set():
            woken, _, _ = select.select([self._wake], [], [], TICK)
            if woken and self._stop.is_set():
                return
            if woken:
                self._told_to_end()
            self._look()
            states = self._states() if self._leads() else {}
            if states:
                self._judge(states)

    def _look(self) -> None:
        """Publish this rank's ledger if something has changed since the last look."""
        now, ledger = time.monotonic(), self.ledger
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
            snapshot = self.ledger.snapshot(waits, blocked, os.getpid())
            data = self._encode(snapshot)
        except RuntimeError:  # a dict grew while it was copied: the rank is not waiting
            return
        if self.ledger.counter != state[0]:
            return
        self._write(data)
        self._written = state

    def _write(self, data: bytes) -> None:
        file = self.folder / f"new-{self.ledger.rank}"
        with suppress(OSError):  # the folder is gone when the job has ended
            file.write_bytes(data)
            file.replace(self.folder / f"rank-{self.ledger.rank}")

    def _states(self) -> States:
        states = {}
        for rank in self.ranks:
            with suppress(OSError, msgspec.MsgspecError):
                states[rank] = self._decode((self.folder / f"rank-{rank}").read_bytes())
        return states

    def _leads(self) -> bool:
        """Whether no lower rank of this node is still alive."""
        for rank in self.ranks:
            if rank == self.ledger.rank:
                return True
            with suppress(OSError, msgspec.MsgspecError):
                state = self._decode((self.folder / f"rank-{rank}").read_bytes())
                gone = state.doing is not None and state.doing.op == "gone"
                if not gone and _alive(state.pid):
                    return False
        return True

    def _judge(self, states: States) -> None:
        killed = self._killed(states)
        if killed is not None:
            self.announce(killed)
        verdict = diagnose(states, self.size, self._strict, self._compared)
        counters = None if verdict is None else [(r, s.counter) for r, s in sorted(states.items())]
        same = verdict is not None and self._suspect == (verdict.kind, counters)
        self._agreed = self._agreed + 1 if same else 0
        self._suspect = None if verdict is None else (verdict.kind, counters)
        if verdict is not None and self._agreed + 1 >= CONFIRM:
            self.announce(verdict)

    def _killed(self, states: States) -> Verdict | None:
        dead = [s for s in states.values() if not _alive(s.pid) and (s.doing is None or s.doing.op != "gone")]
        if not dead:
            return None
        blame = [(s.rank, s.last_line) for s in dead]
        return Verdict("rank killed", blame, [f"rank {s.rank}  its process {s.pid} is gone" for s in dead])

    # ---- the end
    def announce(self, verdict: Verdict) -> None:
        """Print the verdict, unless another rank has printed one, and end the job."""
        if self._claim(verdict.level or "verdict"):
            with suppress(Exception):
                sys.stdout.flush()
            failure.say(verdict.text)
        elif not verdict.level:
            time.sleep(1)  # the rank that prints ends us
        if not verdict.level:
            time.sleep(failure.HEARD)
            # MPI's own end has been seen to hang while another rank was in Finalize
            faulthandler.dump_traceback_later(1, exit=True, file=open(os.devnull, "w"))  # noqa: SIM115
            self._remove()
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
        deadline, looks, verdict = time.monotonic() + EXPLAIN, 0, None
        while time.monotonic() < deadline and looks < 3:
            self._publish(False)
            verdict = behind_error(self._states())
            looks += verdict is not None  # more ranks may come, and change who is in the minority
            time.sleep(TICK)
        if verdict is not None:
            self.announce(verdict)

    def _end_of_watch(self) -> None:
        """This rank prints what has happened itself; the others are to keep quiet."""
        self._claim("verdict")
        self._stop.set()

    def finish(self) -> None:
        """At the end of this rank, before MPI is finalized."""
        called = failure.exit_call()
        site = "" if called is None else call_site(called[1])
        snapshot = final_snapshot(self.ledger, site, os.getpid())
        self._write(self._encode(snapshot))
        if failure.failed_exit():
            self.announce(exited(self.ledger.rank, called[0], site))
        verdict = never_waited_for(self.ledger)
        if verdict is not None:
            self.announce(verdict)
        note = raced(self.ledger)
        if note is not None:
            self.announce(note)
        states = self._states()
        if len(states) == len(self.ranks) and all(_gone(s) for s in states.values()):
            verdict = last_words(states, self._strict)
            if verdict is not None:
                self.announce(verdict)
            self._remove()
        self._stop.set()

    def _claim(self, name: str) -> bool:
        try:
            os.close(os.open(self.folder / name, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        except OSError:  # the folder is gone: the job has been ended
            return False
        return True

    def _remove(self) -> None:
        """Leave nothing of the job in shared memory."""
        shutil.rmtree(self.folder, ignore_errors=True)

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


def make_folder() -> Path:
    """A folder in shared memory for the ranks of this node; folders of jobs that died are removed."""
    shm = Path("/dev/shm")
    parent = shm if shm.is_dir() and os.access(shm, os.W_OK) else Path(tempfile.gettempdir())
    for old in parent.glob(f"{PREFIX}*"):
        number = old.name.removeprefix(PREFIX).split("-")[0]
        if number.isdigit() and not _alive(int(number)):
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent))


def _gone(state: Snapshot) -> bool:
    return state.doing is not None and state.doing.op == "gone"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # a zombie is dead, but not yet taken away
        stat = Path(f"/proc/{pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True


def _terminated(number: int, frame: FrameType | None) -> None:
    """In the main thread; the watch's thread does the rest, also while the main one is in MPI."""
