"""How the gradients are cut for the allreduces: the plan of a step, before anything is sent.

Four rungs of a ladder sum the same n bytes. Each rank sends 2n(p-1)/p of them with the ring; the
rungs differ in the number of messages and in when these leave (Li et al., VLDB 2020, figure 2).

    strategy    one allreduce for     messages a rank (ring)       leave
    naive       each parameter        2(p-1) · parameters          after backward
    flat        all                   2(p-1)                       after backward
    bucketed    each bucket           2(p-1) · buckets             after backward
    overlap     each bucket           2(p-1) · buckets             during backward, see overlap.py

Every message costs alpha, so naive is slow where parameters are small. flat has the fewest
messages, but its one allreduce cannot begin before the last gradient is there. A bucket is large
enough that alpha does not count, and complete early enough to leave while backward goes on.

A bucket is a slice of the flat gradient buffer, so nothing is copied. Buckets come in the order
in which backward completes them: the reverse of the one in which layers registered parameters.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from mpipar.errors import OptionError
from mpipar.nn import Flat, Parameter

BUCKET_BYTES = 1 << 20
STRATEGIES = ("naive", "flat", "bucketed", "overlap")


class Bucket(NamedTuple):
    """Parameters start..stop-1 of a Flat, summed by one allreduce."""

    flat: Flat
    start: int
    stop: int

    @property
    def parameters(self) -> list[Parameter]:
        return self.flat.parameters[self.start : self.stop]

    @property
    def grad(self) -> Any:
        """Their gradients: a view."""
        return self.flat.bucket(self.start, self.stop)[1]

    def weigh(self, share: float) -> None:
        """gradients ← share · gradients; with 0 they become zero whatever they were."""
        if share > 0:
            self.grad[...] *= share
        else:
            self.clear()

    def clear(self) -> None:
        """gradients ← 0 whatever they were."""
        self.grad[...] = 0


def plan(flats: list[Flat], strategy: str, bucket_bytes: int = BUCKET_BYTES) -> list[Bucket]:
    """The buckets of a strategy in the order in which they are summed, the same on every rank.

    flats: one a dtype, one after the other;   errors: OptionError for an unknown strategy
    """
    if strategy not in STRATEGIES:
        raise OptionError(f"strategy={strategy!r} is unknown; choose one of {', '.join(STRATEGIES)}")
    cuts = {"naive": one_each, "flat": one_for_all}
    cut = cuts.get(strategy, lambda flat: cut_buckets(flat, bucket_bytes))
    return [bucket for flat in flats for bucket in cut(flat)]


def one_each(flat: Flat) -> Iterator[Bucket]:
    """A bucket a parameter, from the last to the first."""
    for i in reversed(range(len(flat.parameters))):
        yield Bucket(flat, i, i + 1)


def one_for_all(flat: Flat) -> Iterator[Bucket]:
    """The whole buffer."""
    yield Bucket(flat, 0, len(flat.parameters))


def cut_buckets(flat: Flat, bucket_bytes: int) -> Iterator[Bucket]:
    """From the last parameter to the first: each bucket ends once it has bucket_bytes."""
    stop = start = len(flat.parameters)
    while stop:
        start -= 1
        if start == 0 or flat.bucket(start, stop)[1].nbytes >= bucket_bytes:
            yield Bucket(flat, start, stop)
            stop = start
