"""Gradients summed to their owners: the reduce-scatters of a ZeRO step (Rajbhandari et al., SC 2020).

    backward    … layer 3 · layer 2 · layer 1
    sums           └ unit 0 ─┘  └ unit 1 ─┘        stages 2 and 3: each as soon as its gradients are there
                                       └ 0 · 1     stage 1: after backward

A unit's row of n gradients, in which each of N ranks owns a piece (units.py), costs n (N-1)/N numbers
sent with the ring.
"""

from mpipar.parallel.overlap import Overlap
from mpipar.parallel.units import Unit


class OwnerSums(Overlap):
    """The reduce-scatters of one step, in one order on all ranks."""

    name = "ZeRO"

    @property
    def waiting(self) -> list[Unit]:
        """Whose gradients have not left yet."""
        return self._buckets[len(self._sums) :]

    def leave(self) -> None:
        """Sum the next unit: a reduce-scatter of this rank's share of its gradients."""
        unit = self.waiting[0]
        row, out = unit.gradients(self._share == 0), None if unit.summed else unit.grad
        unit.add(self._comm.reduce_scatter(row, "sum", self._algorithm, out, scale=self._share))
        self._sums.append(unit)

    _start_next = leave

    def finish(self) -> None:
        """Sum all other units, complete or not."""
        while self.waiting:
            self.leave()
