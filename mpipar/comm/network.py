"""The alpha-beta-gamma model of a network (Hockney, Parallel Computing 20, 1994).

A message of n bytes between two ranks takes  alpha + n·beta  seconds; adding n received bytes
to n local ones takes  n·gamma.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Network:
    """alpha: s a message;   beta: s a byte carried;   gamma: s a byte reduced"""

    alpha: float
    beta: float
    gamma: float


# Two ranks of one host, shared memory, Open MPI 5.0.11 from its wheel: a ping-pong leg took 0.6 µs
# for 8 bytes and 69 µs for 1 MiB (15 GB/s); numpy added 512 KiB in place at 60 GB/s.
SHARED_MEMORY = Network(alpha=1e-6, beta=1 / 15e9, gamma=1 / 60e9)
