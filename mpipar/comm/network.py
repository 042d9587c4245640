"""The alpha-beta-gamma model of a network (Hockney, Parallel Computing 20, 1994), and what
virtual ranks add to it: overhead and ports (LogGP; Alexandrov et al., SPAA 1995) and links of
several classes.

A message of n bytes between two ranks takes  alpha + n·beta  seconds; adding n received bytes
to n local ones takes  n·gamma. On virtual ranks, in seconds:

    sender    is busy for `overhead`, then its port is busy for n·beta: a second message waits
    link      the first byte arrives alpha after it left
    receiver  its port, too, takes one message at a time, n·beta each; then it is busy for `overhead`

    t=0       o         o+n·beta
    sender    |overhead |n·beta on the port|
    receiver            |······ alpha ······|n·beta on the port|overhead| done at 2o + alpha + n·beta

A message of up to `eager_limit` bytes is buffered: its sender goes on after the overhead. A
longer one starts when both sides are there (rendezvous), and its sender goes on when the last
byte has left. The handshake is taken as free, so that the formula holds for every n.

A topology file, times in seconds; what is left out has the value of one node, or is free:

    ranks_per_socket = 8      # ranks are placed in order; left out: all on one socket
    sockets_per_node = 2      # left out: all on one node
    eager_limit = 4016        # bytes
    gamma = 1.7e-11           # s a byte reduced
    [socket]                  # two ranks of one socket
    alpha = 0.6e-6
    beta = 6.7e-11
    overhead = 0.1e-6
    [node]                    # two sockets of one node; left out: as [socket]
    [cluster]                 # two nodes; needed where there are two
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpipar.errors import OptionError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Network:
    """alpha: s a message;   beta: s a byte carried;   gamma: s a byte reduced"""

    alpha: float
    beta: float
    gamma: float


# Two ranks of one host, shared memory, Open MPI 5.0.11 from its wheel: a ping-pong leg took 0.6 µs
# for 8 bytes and 69 µs for 1 MiB (15 GB/s); numpy added 512 KiB in place at 60 GB/s.
SHARED_MEMORY = Network(alpha=1e-6, beta=1 / 15e9, gamma=1 / 60e9)
CLASSES = ("socket", "node", "cluster")


@dataclass(frozen=True)
class Link:
    """alpha: s until the first byte arrives;   beta: s a byte;   overhead: s a message, on each side"""

    alpha: float
    beta: float
    overhead: float = 0.0


@dataclass(frozen=True)
class Topology:
    """Which link joins two ranks.   links: of CLASSES;   counts: None where there is only one"""

    links: tuple[Link, ...]
    gamma: float = SHARED_MEMORY.gamma
    eager_limit: int = 4016
    ranks_per_socket: int | None = None
    sockets_per_node: int | None = None

    def place(self, rank: int) -> tuple[int, int]:
        """(node, socket) of a rank; sockets are counted through all nodes."""
        socket = rank // self.ranks_per_socket if self.ranks_per_socket else 0
        return (socket // self.sockets_per_node if self.sockets_per_node else 0), socket

    def link(self, a: int, b: int) -> Link:
        """What joins ranks a and b.   errors: OptionError where no link is given for their distance"""
        (node_a, socket_a), (node_b, socket_b) = self.place(a), self.place(b)
        distance = 2 if node_a != node_b else int(socket_a != socket_b)
        if distance >= len(self.links):
            raise OptionError(
                f"ranks {a} and {b} are joined by the {CLASSES[distance]}, but the network has no "
                f"[{CLASSES[distance]}]; add it, or place more ranks on a node"
            )
        return self.links[distance]

    def network(self, size: int) -> Network:
        """The slowest link among so many ranks, as one alpha and beta to choose algorithms by."""
        slowest = self.link(0, size - 1)
        return Network(slowest.alpha + 2 * slowest.overhead, slowest.beta, self.gamma)


def one_node(network: Network = SHARED_MEMORY) -> Topology:
    """All ranks on one socket."""
    return Topology((Link(network.alpha, network.beta),), network.gamma)


def load_topology(path: str | Path) -> Topology:
    """Read a topology file; see above.   errors: OptionError with the key and what it may be"""
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"network file {path}: {error.strerror}; name a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"network file {path} is no TOML: {error}; write it as key = value") from None
    _refuse_unknown(path, table, {*CLASSES, *_NUMBERS})
    links: list[Link] = []
    for name in CLASSES:
        if name in table:
            links.append(_link(f"{path} [{name}]", table[name]))
        elif name == "socket" or (name == "node" and "cluster" in table):
            links.append(links[0] if links else one_node().links[0])
    given = {key: _number(f"{path}", key, table[key]) for key in _NUMBERS if key in table}
    if "sockets_per_node" in given and "ranks_per_socket" not in given:
        raise OptionError(f"network file {path}: sockets_per_node needs ranks_per_socket; give both")
    return Topology(tuple(links), **given)


_NUMBERS = {"gamma": float, "eager_limit": int, "ranks_per_socket": int, "sockets_per_node": int}


def _link(where: str, table: Any) -> Link:
    if not isinstance(table, dict) or not {"alpha", "beta"} <= set(table):
        raise OptionError(f"network file {where}: a link needs alpha = seconds and beta = seconds a byte")
    _refuse_unknown(where, table, {"alpha", "beta", "overhead"})
    return Link(**{key: _number(where, key, value) for key, value in table.items()})


def _number(where: str, key: str, value: Any) -> float:
    kind = _NUMBERS.get(key, float)
    least = int(key.endswith(("_socket", "_node")))
    good = isinstance(value, (int, kind)) and not isinstance(value, bool) and least <= value < float("inf")
    if not good:
        what = "a whole number" if kind is int else "seconds"
        raise OptionError(f"network file {where}: {key} = {value!r} must be {what} from {least} on")
    return value


def _refuse_unknown(where: Any, table: dict[str, Any], known: set[str]) -> None:
    for key in table:
        if key not in known:
            raise OptionError(
                f"network file {where}: {key} is unknown; choose from {', '.join(sorted(known))}"
            )
