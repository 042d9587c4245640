"""`mpipar calibrate`: measures alpha, beta and gamma, by which "auto" chooses (Hockney, Parallel
Computing 20, 1994).

alpha, beta: ranks 0 and 1 play ping-pong with messages of 8 bytes to 4 MiB; half a round trip is
t(n) = alpha + n beta. The fit weighs relative errors, Σ (1 - (alpha + n beta)/t)², because the times
differ by a factor of a thousand. gamma: the time in which NumPy adds 256 KiB in place, a byte.

The messages are the communicator's own, so alpha includes what Python does for each of them.
"""

import json
import socket
import sys
import time
from dataclasses import asdict
from typing import Any

import numpy as np

from mpipar.comm.collectives import ALGORITHMS, predict
from mpipar.comm.network import Network
from mpipar.comm.network_file import save_network
from mpipar.comm.world import world
from mpipar.errors import LaunchError

SIZES = [8 << (2 * k) for k in range(10)] + [4 << 20]  # bytes
TURNS, TRIPS = 15, 20  # how often each size is tried
REDUCED = 256 << 10  # bytes: fits the cache, as a segment does


def calibrate(comm: Any) -> tuple[Network, list[tuple[int, float]]]:
    """Collective: the fitted network, the same on all ranks, and what it was fitted to.

    returns: (network, and on ranks 0 and 1 [(bytes, seconds of one message), …])
    errors: LaunchError on one rank
    """
    if comm.size < 2:
        raise LaunchError("calibrate: one rank has nobody to send to; start 2 ranks")
    legs = _legs(comm)
    numbers = np.array([*fit(legs), _adding()] if comm.rank == 0 else [0.0] * 3)
    comm.bcast(numbers, algorithm="linear")
    return Network(*numbers.tolist()), legs


def fit(legs: list[tuple[int, float]]) -> tuple[float, float]:
    """alpha and beta for measured (bytes, seconds), least squares of relative errors.

    Where the best fit is negative, as for times that fall with size, the nearest positive ones.
    """
    n, t = np.array(legs, np.float64).T
    (alpha, beta), *_ = np.linalg.lstsq(np.stack([1 / t, n / t], axis=1), np.ones(len(t)), rcond=None)
    if alpha <= 0:
        alpha = t.min() / 2
    if beta <= 0:
        beta = max(t[-1] - t[0], t[-1] / 100) / n[-1]
    return float(alpha), float(beta)


def _legs(comm: Any) -> list[tuple[int, float]]:
    """(bytes, seconds of one message between ranks 0 and 1), half of the fastest round trip.

    Other programs can only make a trip slower, so the least is right; the sizes take turns, so that
    a busy moment does not hit one of them alone. A longer message is never really faster.
    """
    best = [np.inf] * len(SIZES)
    for _ in range(TURNS):
        for i, n in enumerate(SIZES):
            best[i] = min(best[i], _fastest_trip(comm, np.zeros(n, np.uint8)) / 2)
    return [(n, min(best[i:])) for i, n in enumerate(SIZES)]


def _fastest_trip(comm: Any, x: np.ndarray) -> float:
    fastest = np.inf
    for _ in range(TRIPS if comm.rank < 2 else 0):
        start = time.perf_counter()
        if comm.rank == 0:
            comm.send(x, 1)
            comm.recv(x, 1)
        else:
            comm.recv(x, 0)
            comm.send(x, 0)
        fastest = min(fastest, time.perf_counter() - start)
    return fastest


def _adding() -> float:
    """Seconds a byte of adding one array to another that is in the cache."""
    x, y = np.zeros((2, REDUCED // 4), np.float32)
    best = np.inf
    for _ in range(200):
        start = time.perf_counter()
        np.add(x, y, out=x)
        best = min(best, time.perf_counter() - start)
    return best / REDUCED


def ranges(operation: str, ranks: int, network: Network) -> list[tuple[int, str]]:
    """[(bytes from which on, algorithm), …]: what "auto" chooses for float32."""
    found: list[tuple[int, str]] = []
    for k in range(29):
        name = next(iter(predict(operation, 1 << k, 4, ranks, network)))
        if not found or found[-1][1] != name:
            found.append((4 << k if found else 0, name))
    return found


def main() -> None:
    """What each rank runs: measure, store, and say on rank 0 what follows from it."""
    comm = world()
    network, legs = calibrate(comm)
    if comm.rank > 0:
        return
    path = save_network(network, host=socket.gethostname(), ranks=comm.size, measured=legs)
    if "--json" in sys.argv:
        print(json.dumps({"file": str(path), **asdict(network), "measured": legs}))
        return
    off = max(
        max(t / (network.alpha + n * network.beta), (network.alpha + n * network.beta) / t) for n, t in legs
    )
    print(f"alpha  {network.alpha * 1e6:.2f} µs a message")
    print(f"beta   {network.beta * 1e9:.3f} ns a byte ({1e-9 / network.beta:.1f} GB/s)")
    print(f"gamma  {network.gamma * 1e9:.3f} ns a byte added ({1e-9 / network.gamma:.1f} GB/s)")
    print(f"the fit is off by a factor of {off:.1f} at most; kept in {path}")
    print("\nWhat algorithm='auto' chooses from so many bytes on (float32):")
    for ranks in (2, 4, 8):
        for operation in (name for name, offered in ALGORITHMS.items() if len(offered) > 1):
            row = ", ".join(f"{name} from {size}" for size, name in ranges(operation, ranks, network))
            print(f"  {ranks} ranks  {operation:<15} {row}")


if __name__ == "__main__":
    main()
