"""The dissemination barrier (Hensgen, Finkel & Manber, IJPP 17, 1988).

In round k rank r tells rank r + 2^k that it has arrived, and hears it from rank r - 2^k. After
⌈log2 p⌉ rounds everybody has heard, directly or not, of everybody.

a rank: ⌈log2 p⌉ messages of 0 bytes, ⌈log2 p⌉ rounds.   Time: ⌈log2 p⌉ alpha.
"""

from typing import Any

import numpy as np


def dissemination_barrier(comm: Any) -> None:
    """Returns on no rank before all ranks have called it."""
    p, r = comm.size, comm.rank
    nothing, heard = np.empty((2, 0), np.uint8)
    distance = 1
    while distance < p:
        comm.sendrecv(nothing, (r + distance) % p, (r - distance) % p, tag=distance, out=heard)
        distance *= 2
