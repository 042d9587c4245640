"""How the watches of several nodes hear of each other: TCP, beside MPI, which may be what hangs.

World rank 0's watch keeps a `Hub`; on every other node the watch that leads tells it, through a
`Spoke`, what the ranks of its node do. The hub's rank judges all of them. It also says who may
print, so that a verdict is printed once in the job.

Nothing here may end a job or slow it down: whoever cannot reach the hub (a firewall, a lost
connection) watches its own node. The hub leaves out the ranks of a node that it no longer hears,
and diagnose.py takes a rank without a snapshot for one that may go on.

Only IPv4, and no host names: their resolution is broken on many a cluster.
"""

import hmac
import secrets
import selectors
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from mpipar.comm.ledger import Snapshot

PERIOD = 0.4  # s between two reports of a node
BEAT = 1.0  # s after which it reports even if nothing has changed
SILENT = 5.0  # s without a report after which a node's ranks are left out
AWAY = 1.0  # s for a node to connect, also again when the rank that led it has ended
REACH = 1.0  # s to connect and be answered
RETRY = 10.0  # s until a hub that was not reached is tried again
LONGEST = 1 << 26  # bytes of a word
LENGTH = struct.Struct("!I")

States = dict[int, Snapshot]


class Meeting(msgspec.Struct, array_like=True):
    """Where the hub is, and the secret that admits to it."""

    hosts: list[str]
    port: int
    token: str


class Word(msgspec.Struct, array_like=True):
    """What is said. what: states, claim or ask; an answer: yes or no.   node: its first rank"""

    token: str
    what: str
    node: int = 0
    name: str = ""
    states: list[Snapshot] = msgspec.field(default_factory=list)


FAILURES = (OSError, msgspec.MsgspecError)
encode, decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Word).decode


class Line:
    """Words over one connection, each after its length."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(REACH)
        for name, value in (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection, self.node, self._come = connection, -1, bytearray()

    def say(self, word: Word) -> None:
        data = encode(word)
        self.connection.sendall(LENGTH.pack(len(data)) + data)

    def heard(self) -> list[Word]:
        """Read what is there, at least a byte: the words that are now complete."""
        data, words = self.connection.recv(1 << 20), []
        if not data:
            raise ConnectionError("closed by the other side")
        self._come += data
        while len(self._come) >= LENGTH.size:
            end = LENGTH.size + LENGTH.unpack_from(self._come)[0]
            if end > LONGEST:
                raise ConnectionError(f"a word of {end} bytes, and {LONGEST} are allowed")
            if len(self._come) < end:
                break
            words.append(decode(self._come[LENGTH.size : end]))
            del self._come[:end]
        return words

    def answer(self) -> Word:
        """Wait for one word."""
        while not (words := self.heard()):
            pass
        return words[0]


class Hub:
    """Rank 0's: what the other nodes have told.   nodes: for every world rank the first of its node"""

    def __init__(self, nodes: list[int]) -> None:
        self._nodes, self._held = nodes, {}
        self._left = dict.fromkeys(nodes, time.monotonic())  # when a node was last connected
        self._told = dict.fromkeys(nodes, 0.0)
        self._lines: set[Line] = set()
        self._door = socket.create_server(("", 0), backlog=min(len(nodes), 1024))
        self._door.settimeout(REACH)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._door, selectors.EVENT_READ)
        self.meeting = Meeting(own_addresses(), self._door.getsockname()[1], secrets.token_hex(16))

    def fileno(self) -> int:
        """For `select`: readable when there is something to serve."""
        return self._selector.fileno()

    def serve(self, claim: Callable[[str], bool], here: Callable[[], States]) -> None:
        """Answer what has come, without waiting.   claim: whether that name is still free"""
        for key, _ in self._selector.select(0):
            line = key.data
            try:
                if line is None:
                    self._admit()
                    continue
                for word in line.heard():
                    line.say(self._answer(word, line, claim, here))
            except FAILURES:
                self._close(line)

    def states(self) -> States:
        """The ranks of other nodes, but for those of nodes that are not heard."""
        now = time.monotonic()
        return {
            r: state
            for r, state in list(self._held.items())
            if state.gone or now - self._told[self._nodes[r]] < SILENT
        }

    def in_reach(self, rank: int) -> bool:
        """Whether the node of this rank is connected, or may soon be."""
        node = self._nodes[rank]
        connected = any(line.node == node for line in list(self._lines))
        return connected or time.monotonic() - self._left[node] < AWAY

    def heard_since(self, moment: float) -> bool:
        """Whether every node that `states` speaks of has told what its ranks do since then."""
        return all(self._told[self._nodes[r]] >= moment for r, s in self.states().items() if not s.gone)

    def _admit(self) -> None:
        line = Line(self._door.accept()[0])
        self._lines.add(line)
        self._selector.register(line.connection, selectors.EVENT_READ, line)

    def _close(self, line: Line | None) -> None:
        gone = self._door if line is None else line.connection  # no door: no new ones, and no busy loop
        self._selector.unregister(gone)
        gone.close()
        self._lines.discard(line)
        if line is not None and line.node >= 0:
            self._left[line.node] = time.monotonic()

    def _answer(self, word: Word, line: Line, claim: Callable, here: Callable) -> Word:
        if not hmac.compare_digest(word.token.encode(), self.meeting.token.encode()):
            raise ConnectionError("not of this job")
        if word.what == "claim":
            return Word("", "yes" if claim(word.name) else "no")
        if word.what == "ask":
            return Word("", "yes", states=list((self.states() | here()).values()))
        for state in word.states:
            held = self._held.get(state.rank)
            if held is None or state.counter >= held.counter:
                self._held[state.rank] = state
        if word.node in self._told:
            line.node, self._told[word.node] = word.node, time.monotonic()
        return Word("", "yes")


class Spoke:
    """The other ranks' way to the hub.   node: the first rank of this rank's node"""

    def __init__(self, meeting: Meeting, node: int) -> None:
        self._meeting, self._node = meeting, node
        self._line: Line | None = None
        self._known: dict[int, tuple] = {}  # what the hub has been told
        self._awaits, self._said, self._not_before = False, 0.0, 0.0

    def report(self, states: States) -> bool:
        """Tell the hub what has changed.   returns: whether it is there, and judges for us"""
        if self._line is None and time.monotonic() < self._not_before:
            return False
        try:
            self._line = self._line or self._connect()
            self._tell(states)
        except FAILURES:
            if self._line is not None:
                self._line.connection.close()
            self._line, self._known, self._awaits = None, {}, False
            self._not_before = time.monotonic() + RETRY
        return self._line is not None

    def _tell(self, states: States) -> None:
        now = time.monotonic()
        if self._awaits and _readable(self._line.connection):
            self._awaits = not self._line.heard()
        if self._awaits and now - self._said > SILENT:
            raise TimeoutError("the hub does not answer")
        if self._awaits or now - self._said < PERIOD:
            return
        # of a rank that goes on waiting, the seconds matter only at first
        marks = {r: (s.counter, s.doing is None, min(s.blocked, 1.0)) for r, s in states.items()}
        changed = [states[r] for r in marks if self._known.get(r) != marks[r]]
        if changed or now - self._said > BEAT:
            self._line.say(self._word("states", states=changed))
            self._known, self._awaits, self._said = marks, True, now

    def claim(self, name: str) -> bool:
        """Whether this rank may print; it may if nobody can be asked."""
        answer = self._asked(self._word("claim", name=name))
        return answer is None or answer.what == "yes"

    def ask(self) -> States:
        """All ranks that the hub knows of."""
        answer = self._asked(self._word("ask"))
        return {} if answer is None else {state.rank: state for state in answer.states}

    def push(self, states: States) -> bool:
        """Tell all of it at once: the node's last rank ends.   returns: whether the hub has it"""
        return self._asked(self._word("states", states=list(states.values()))) is not None

    def _asked(self, word: Word) -> Word | None:
        if time.monotonic() < self._not_before:
            return None
        try:
            line = self._connect()
            with line.connection:
                line.say(word)
                return line.answer()
        except FAILURES:
            self._not_before = time.monotonic() + RETRY
        return None

    def _word(self, what: str, **more) -> Word:
        return Word(self._meeting.token, what, self._node, **more)

    def _connect(self) -> Line:
        """To the first of the hub's addresses that answers; some may not lead there from here."""
        deadline = time.monotonic() + REACH
        with selectors.DefaultSelector() as trying:
            for host in self._meeting.hosts:
                way = socket.socket()
                way.setblocking(False)
                way.connect_ex((host, self._meeting.port))
                trying.register(way, selectors.EVENT_WRITE)
            try:
                while trying.get_map() and time.monotonic() < deadline:
                    for key, _ in trying.select(max(deadline - time.monotonic(), 0)):
                        trying.unregister(key.fileobj)
                        with suppress(*FAILURES):
                            return self._greeted(key.fileobj)
                        key.fileobj.close()
            finally:
                for key in list(trying.get_map().values()):
                    key.fileobj.close()
        raise ConnectionError(f"none of {', '.join(self._meeting.hosts)} answers")

    def _greeted(self, way: socket.socket) -> Line:
        line = Line(way)
        line.say(self._word("states"))
        line.answer()
        return line


def _readable(connection: socket.socket) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        return bool(selector.select(0))


def own_addresses() -> list[str]:
    """This host's IPv4 addresses, of each interface the first; those of the host itself only if alone."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        if sys.platform == "linux":
            import fcntl

            for _, name in socket.if_nameindex():
                with suppress(OSError):  # an interface without an address
                    asked = fcntl.ioctl(probe, 0x8915, struct.pack("256s", name.encode()))  # SIOCGIFADDR
                    found.append(socket.inet_ntoa(asked[20:24]))
        else:
            with suppress(OSError):  # the address towards elsewhere; nothing is sent
                probe.connect(("192.0.2.1", 9))
                found.append(probe.getsockname()[0])
    return [a for a in found if not a.startswith("127.")] or ["127.0.0.1"]
