"""How far this rank's clock is from rank 0's, which a trace of several hosts needs.

Cristian's method (Probabilistic clock synchronization, 1989): ask rank 0 for its time. It read its clock
some time between the question and the answer, so at the middle of both, give or take half the round
trip; the shortest of several round trips counts. Ranks of one node share a clock: the first of each
node asks, and tells the others.
"""

from collections.abc import Callable

import numpy as np

from mpipar.comm.transport import Transport

ROUNDS = 100  # some 5 ms a host over TCP, one host after the other


def offset_to_rank_0(
    transport: Transport, nodes: list[int], now: Callable[[], int], rounds: int = ROUNDS
) -> tuple[int, int]:
    """Collective.   nodes: which node each rank is on;   now: this rank's clock, ns

    returns: (ns to add to this clock for rank 0's, ns of the round trip); (0, 0) on rank 0's node
    """
    firsts = [r for r, node in enumerate(nodes) if nodes.index(node) == r]
    mine, told = nodes.index(nodes[transport.rank]), np.zeros(2, np.int64)
    if transport.rank == 0:
        for other in firsts[1:]:
            _answer(transport, other, now, rounds)
    elif transport.rank == mine:
        told[:] = min((_ask(transport, now) for _ in range(rounds)), key=lambda answer: answer[1])
    if mine == 0:
        return 0, 0
    if transport.rank != mine:
        transport.recv(told, mine, 0)
    else:
        for neighbour in range(mine + 1, transport.size):
            if nodes[neighbour] == nodes[mine]:
                transport.send(told, neighbour, 0)
    return int(told[0]), int(told[1])


def _ask(transport: Transport, now: Callable[[], int]) -> tuple[int, int]:
    time, start = np.zeros(1, np.int64), now()
    transport.send(time, 0, 0)
    transport.recv(time, 0, 0)
    end = now()
    return int(time[0]) - (start + end) // 2, end - start


def _answer(transport: Transport, other: int, now: Callable[[], int], rounds: int) -> None:
    time = np.zeros(1, np.int64)
    for _ in range(rounds):
        transport.recv(time, other, 0)
        time[0] = now()
        transport.send(time, other, 0)
