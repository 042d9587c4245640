"""How the watches of several nodes hear of each other: TCP, beside MPI, which may be what hangs.

World rank 0's watch keeps a `Hub`. On every other node the watch that leads tells it, through a
`Spoke`, what the ranks of its node do; the hub's rank judges all of them. Verdicts of other nodes
are printed by the hub's rank too, once in the job, and on mpirun's own host.

Nothing here ends a job or slows it down: whoever cannot reach the hub (a firewall, a lost
connection) watches its own node. The hub leaves out the ranks of a node that it no longer hears,
and stuck.py takes a rank without a snapshot for one that may go on.

Only IPv4 addresses and no host names, whose resolution is broken on many a cluster.
"""

import hmac
import secrets
import selectors
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from mpipar import failure
from mpipar.comm.ledger import Snapshot, States

PERIOD = 0.4  # s between two reports of a node
BEAT = 1.0  # s after which it reports even if nothing has changed
SILENT = 5.0  # s without a report after which a node's ranks are left out
AWAY = 1.0  # s for a node to connect, also again when the rank that led it has ended
REACH = 0.5  # s for one of the hub's addresses to accept
PATIENCE = 2.0  # s for an answer
RETRY = 10.0  # s until a hub that was not reached is tried again
LONGEST = 1 << 26  # bytes of a word
LENGTH = struct.Struct("!I")


class Meeting(msgspec.Struct, array_like=True):
    """Where the hub is, and the secret that admits to it."""

    hosts: list[str]
    port: int
    token: str


class Word(msgspec.Struct, array_like=True):
    """What is said. what: tell, ask or say once; an answer: yes or no.   node: its first rank"""

    what: str
    token: str = ""
    node: int = 0
    name: str = ""
    text: str = ""
    states: list[Snapshot] = []


FAILURES = (OSError, msgspec.MsgspecError)
encode, decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Word).decode


class Hub:
    """Rank 0's: what the other nodes have told.   nodes: for every world rank the first of its node"""

    def __init__(self, nodes: list[int]) -> None:
        self._nodes, self._held = nodes, {}
        self._told = dict.fromkeys(nodes, 0.0)  # when a node last spoke
        self._seen = dict.fromkeys(nodes, time.monotonic())  # when it was last connected
        self._node_of: dict[socket.socket, int] = {}
        self._selector = selectors.DefaultSelector()
        self._door = socket.create_server(("", 0), backlog=1024)
        self._selector.register(self._door, selectors.EVENT_READ)
        self._token = secrets.token_hex(16)
        where = Meeting(own_addresses(), self._door.getsockname()[1], self._token)
        self.meeting = msgspec.msgpack.encode(where)  # for a Spoke

    def fileno(self) -> int:
        """For `select`: readable when there is something to serve."""
        return self._selector.fileno()

    def close(self) -> None:
        """Let nobody in any more."""
        self._selector.unregister(self._door)
        self._door.close()

    def serve(self, say_once: Callable[[str, str], bool], here: Callable[[], States]) -> None:
        """Answer whoever has spoken.   say_once(name, text): print, if first;   here: this node's ranks"""
        for key, _ in self._selector.select(0):
            line = key.fileobj
            try:
                if line is self._door:
                    self._selector.register(_prepared(line.accept()[0]), selectors.EVENT_READ)
                else:
                    say(line, self._answer(hear(line), line, say_once, here))
            except FAILURES:  # a door that fails stays closed, or it would keep us busy
                self._selector.unregister(line)
                line.close()
                self._seen[self._node_of.pop(line, 0)] = time.monotonic()

    def states(self) -> States:
        """The ranks of other nodes, but for those of nodes that are not heard."""
        since = time.monotonic() - SILENT
        held = self._held.copy()
        return {r: s for r, s in held.items() if s.gone or self._told[self._nodes[r]] > since}

    def heard_since(self, moment: float) -> bool:
        """Whether all that `states` says of ranks that have not ended is from after that moment."""
        return all(s.gone or self._told[self._nodes[r]] > moment for r, s in self.states().items())

    def in_reach(self, rank: int) -> bool:
        """Whether the node of this rank is connected, or may soon be."""
        node = self._nodes[rank]
        return node in self._node_of.copy().values() or time.monotonic() - self._seen[node] < AWAY

    def _answer(self, word: Word, line: socket.socket, say_once: Callable, here: Callable) -> Word:
        if not hmac.compare_digest(word.token.encode(), self._token.encode()):
            raise ConnectionError("not of this job")
        self._node_of[line] = word.node
        if word.what == "say once":
            return Word("yes" if say_once(word.name, word.text) else "no")
        if word.what == "ask":
            return Word("yes", states=[*self.states().values(), *here().values()])
        for state in word.states:
            held = self._held.get(state.rank)
            if held is None or state.counter >= held.counter:
                self._held[state.rank] = state
        self._told[word.node] = time.monotonic()
        return Word("yes")


class Spoke:
    """Another rank's way to the hub.   meeting: the hub's;   node: the first rank of this one's node"""

    def __init__(self, meeting: bytes, node: int) -> None:
        self._meeting, self._node = msgspec.msgpack.decode(meeting, type=Meeting), node
        self._line: socket.socket | None = None
        self._known: dict[int, tuple] = {}  # what the hub has been told
        self._told = self._heard = self._not_before = -SILENT
        self._one_at_a_time = threading.Lock()  # the watch's thread, and the main one at its end

    def report(self, states: States) -> bool:
        """Tell what has changed, if it is time.   returns: whether the hub is there to judge"""
        silent = time.monotonic() - self._told
        if silent < PERIOD:
            return self._line is not None
        # how long a rank has waited matters only at first
        marks = {r: (s.counter, s.doing is None, min(s.blocked, 1.0)) for r, s in states.items()}
        known = {} if self._line is None else self._known
        changed = [states[r] for r in marks if known.get(r) != marks[r]]
        if changed or silent > BEAT:
            self._told = time.monotonic()
            self._known = marks if self._asked("tell", states=changed) is not None else {}
        return self._line is not None

    def tell(self, states: States) -> bool:
        """Tell all of it.   returns: whether the hub knows it"""
        return self._asked("tell", states=list(states.values())) is not None

    def say_once(self, name: str, text: str) -> bool:
        """Have it printed, if this node is the first; it is printed here where nobody can be asked."""
        answer = self._asked("say once", name=name, text=text)
        if answer is not None:
            return answer.what == "yes"
        alone = time.monotonic() - self._heard > SILENT  # else the hub has just ended the job, and said why
        if alone and text:
            failure.say(text)
        return alone

    def states(self) -> States:
        """All ranks that the hub knows of."""
        answer = self._asked("ask")
        return {} if answer is None else {state.rank: state for state in answer.states}

    def _asked(self, what: str, **more) -> Word | None:
        """The hub's answer, None where it is out of reach."""
        with self._one_at_a_time:
            if self._line is None and time.monotonic() < self._not_before:
                return None
            try:
                self._line = self._line or self._connect()
                say(self._line, Word(what, self._meeting.token, self._node, **more))
                answer = hear(self._line)
                self._heard = time.monotonic()
                return answer
            except FAILURES:
                self._line, self._not_before = None, time.monotonic() + RETRY
                return None

    def _connect(self) -> socket.socket:
        for host in self._meeting.hosts:
            with suppress(*FAILURES):  # from here an address may lead nowhere, or to another program
                line = _prepared(socket.create_connection((host, self._meeting.port), REACH))
                say(line, Word("tell", self._meeting.token, self._node))
                hear(line)
                return line
        raise ConnectionError(f"none of {', '.join(self._meeting.hosts)} answers")


def say(line: socket.socket, word: Word) -> None:
    """Send one word, after its length."""
    line.sendall(framed(word))


def framed(word: Word) -> bytes:
    """A word as it travels."""
    data = encode(word)
    return LENGTH.pack(len(data)) + data


def hear(line: socket.socket) -> Word:
    """Receive one word."""
    length = LENGTH.unpack(_read(line, LENGTH.size))[0]
    if length > LONGEST:
        raise ConnectionError(f"a word of {length} bytes, where {LONGEST} are allowed")
    return decode(_read(line, length))


def _read(line: socket.socket, size: int) -> bytearray:
    data = bytearray()
    while len(data) < size:
        part = line.recv(min(size - len(data), 1 << 20))
        if not part:
            raise ConnectionError("closed by the other side")
        data += part
    return data


def _prepared(line: socket.socket) -> socket.socket:
    line.settimeout(PATIENCE)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return line


def own_addresses() -> list[str]:
    """This host's IPv4 addresses, the first of each interface; 127.0.0.1 only where it has no other."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex() if sys.platform == "linux" else ():
            import fcntl  # not on Windows

            with suppress(OSError):  # an interface without an address
                asked = fcntl.ioctl(probe, 0x8915, struct.pack("256s", name.encode()))  # SIOCGIFADDR
                found.append(socket.inet_ntoa(asked[20:24]))
        with suppress(OSError):  # the address towards elsewhere; nothing is sent
            probe.connect(("192.0.2.1", 9))
            found.append(probe.getsockname()[0])
    return list(dict.fromkeys(a for a in found if not a.startswith("127."))) or ["127.0.0.1"]
