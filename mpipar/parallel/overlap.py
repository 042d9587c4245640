"""Communication behind backward: a bucket's ring starts when its last gradient is complete
(Li et al., PyTorch Distributed, VLDB 2020, section 3.2.3).

    backward   | layer 4 | layer 3 | layer 2 | layer 1 |
    ring of          bucket 0 ───────▶
    ring of                    bucket 1 ───────▶
    ring of                              bucket 2 ──────▶       wait: only what is left

Backward hears of the layers from the last to the first, so the last layers' gradients can travel
while the first ones' are computed. For backward T_b and rings T_c the step takes about
max(T_b, T_c) instead of T_b + T_c, plus the last bucket's ring, behind which nothing is left.

Two things must hold. Messages move only inside MPI's calls, so between two operations of backward
all rings under way are driven a step. And all ranks start the rings in one order: bucket k waits
for bucket k-1 even if its own gradients are complete, because backward may hear of parameters in
another order than they were registered.

Messages, bytes and sums are those of `bucketed` with the ring, so the results are bitwise equal. With the
staged ring, for a GPU whose memory MPI cannot read, copies are steps as well, and run beside backward.
"""

from contextlib import contextmanager

from mpipar.comm import Communicator, Started
from mpipar.errors import LayoutError
from mpipar.nn import Parameter
from mpipar.parallel.buckets import Bucket
from mpipar.tensor import between_operations


class Overlap:
    """The rings of one step.

    share: what each gradient is multiplied by before it is summed
    errors: LayoutError where a gradient changes after its bucket has left
    """

    name = "overlap"

    def __init__(self, buckets: list[Bucket], comm: Communicator, share: float, algorithm: str) -> None:
        self._buckets, self._comm, self._share, self._algorithm = buckets, comm, share, algorithm
        self._missing = [{id(p) for p in bucket.parameters} for bucket in buckets]
        self._bucket_of = {key: k for k, keys in enumerate(self._missing) for key in keys}
        self._sums: list[Started] = []  # of the buckets that have left: always the first ones

    @contextmanager
    def during_backward(self):
        """Inside, a backward starts the rings of complete buckets and drives them."""
        parameters = [p for bucket in self._buckets for p in bucket.parameters]
        removals = [p.register_post_accumulate_grad_hook(self._complete) for p in parameters]
        try:
            with between_operations(self._comm.progress):
                yield
        finally:
            for remove in removals:
                remove()

    def finish(self) -> None:
        """Start the rings of all other buckets, complete or not, and wait for all."""
        while len(self._sums) < len(self._buckets):
            self._start_next()
        for one in self._sums:
            one.wait()

    def _complete(self, p: Parameter) -> None:
        k = self._bucket_of[id(p)]
        if k < len(self._sums):
            raise LayoutError(
                f"{self.name}: {p.name or p} got another gradient after its bucket, {k} of "
                f"{len(self._buckets)}, had left; call backward once inside averaging (of the sum of the "
                "losses), and before it for all micro-batches but the last"
            )
        self._missing[k].discard(id(p))
        while len(self._sums) < len(self._buckets) and not self._missing[len(self._sums)]:
            self._start_next()

    def _start_next(self) -> None:
        bucket = self._buckets[len(self._sums)]
        bucket.weigh(self._share)
        grad = bucket.grad
        self._sums.append(self._comm.iallreduce(grad, algorithm=self._algorithm, out=grad))
