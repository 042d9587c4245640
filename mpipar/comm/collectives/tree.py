"""The binomial tree: whoever has the data helps to spread it (Thakur, Rabenseifner & Gropp,
IJHPCA 19, 2005).

Ranks are counted from the root. In round k, rank v < 2^k sends to rank v + 2^k, so the number
of ranks that have the data doubles each round.

    p = 8     round 0: 0→1     round 1: 0→2 1→3     round 2: 0→4 1→5 2→6 3→7

n elements:  p-1 messages in all, each of n elements; the root sends ⌈log2 p⌉ of them;
⌈log2 p⌉ rounds.   Time: ⌈log2 p⌉ (alpha + n beta).
"""

from typing import Any


def binomial_bcast(x: Any, comm: Any, root: int) -> None:
    """x on every rank ← the root's x."""
    p = comm.size
    v = (comm.rank - root) % p
    reach = 1
    comm.phase = "bcast"
    if v > 0:  # v heard it from v without its highest bit, and passes it on in later rounds
        reach = 1 << (v.bit_length() - 1)
        comm.recv(x, (root + v - reach) % p, tag=0)
        reach *= 2
    while v + reach < p:
        comm.send(x, (root + v + reach) % p)
        reach *= 2
