"""Data parallelism: every rank has the whole model and a part of each batch.

The gradient of a mean over the global batch of B samples is the weighted mean of the ranks'
own gradients (Li et al., PyTorch Distributed, VLDB 2020, for the equal shares of an SPMD job):

    g  =  Σ_r (B_r / B) g_r          g_r: gradient of the mean over the B_r samples of rank r

So each rank scales its gradient by its share B_r/B, an allreduce sums, and all ranks take the
same optimizer step from then on. Equal initial values plus equal gradients keep the replicas
bitwise equal, because every allreduce of ours ends bitwise equal on all ranks.

Memory a rank: all parameters, gradients and optimizer states, as in a serial run.
Messages a step: one allreduce a bucket, together 2 n (p-1)/p bytes sent by each rank with the
ring, for n bytes of parameters.

A bucket is a slice of the flat gradient buffer, so nothing is copied. Buckets are cut from the
last parameter to the first, the order in which backward completes them.
"""

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from mpipar.arrays import to_host
from mpipar.comm import Communicator
from mpipar.errors import LayoutError
from mpipar.nn import Flat, Module, flatten_by_dtype

BUCKET_BYTES = 1 << 20  # large enough that latency does not count, small enough to overlap later


class Bucket(NamedTuple):
    """Parameters start..stop-1 of a Flat, summed by one allreduce."""

    flat: Flat
    start: int
    stop: int

    @property
    def grad(self) -> Any:
        """Their gradients: a view."""
        return self.flat.bucket(self.start, self.stop)[1]


class DataParallel:
    """A replica of `model` on each rank of `comm`.

        replica = DataParallel(model, world)
        loss = cross_entropy(replica(x), y)        # the mean over this rank's samples
        loss.backward()
        replica.average_gradients(share)           # share: this rank's samples / the batch's
        optimizer.step()

    The constructor makes the replicas equal by broadcasting rank 0's parameters, frozen ones too, and
    verifies it.

    bucket_bytes: the least size of a bucket
    algorithm: of the allreduce
    errors: LayoutError where the ranks built different models, the model has no parameters, or one got
        no gradient
    """

    def __init__(
        self, model: Module, comm: Communicator, bucket_bytes: int = BUCKET_BYTES, algorithm: str = "auto"
    ) -> None:
        self.model, self.comm, self.algorithm = model, comm, algorithm
        self._check_same_model()
        self.flats = flatten_by_dtype(model.parameters())
        self.buckets = [bucket for flat in self.flats for bucket in cut_buckets(flat, bucket_bytes)]
        with comm.scope("replicate"):
            for flat in self.flats:
                comm.bcast(flat.data, root=0)
            for p in model.parameters():
                if not p.requires_grad:  # frozen: in no Flat, since it has no gradient to sum
                    comm.bcast(p.data, root=0)
            self.verify()

    def __call__(self, *inputs: Any) -> Any:
        return self.model(*inputs)

    def average_gradients(self, share: float | None = None) -> None:
        """Every rank's gradients ← the gradients of the mean over the global batch.

        share: this rank's samples over the global batch's, by default 1/size (equal parts); with
            0 this rank had no samples, and its gradients count as zero whatever they are
        cost: one allreduce a bucket
        """
        share = 1 / self.comm.size if share is None else share
        if share > 0:
            self._check_all_have_gradients()
        with self.comm.scope("average gradients"):
            for bucket in self.buckets:
                if share > 0:
                    bucket.grad[...] *= share
                else:
                    bucket.grad[...] = 0
                self.comm.allreduce(bucket.grad, algorithm=self.algorithm, out=bucket.grad)
        for flat in self.flats:
            for p in flat.parameters:
                p.grad = p.grad_buffer

    def verify(self) -> None:
        """Compare all ranks' parameters by their BLAKE2b digests.

        cost: the parameters copied to the host and hashed, 16 bytes a parameter gathered
        errors: LayoutError that names the first parameter and the ranks that differ from rank 0
        """
        names, parameters = zip(*self.model.named_parameters(), strict=True)
        digests = self._gather(np.stack([_digest(to_host(p.data).tobytes()) for p in parameters]))
        differs = (digests != digests[0]).any(axis=2)  # rank × parameter
        if differs.any():
            parameter = int(differs.any(axis=0).argmax())
            ranks = ", ".join(map(str, np.flatnonzero(differs[:, parameter])))
            raise LayoutError(
                f"the replicas differ: {names[parameter]} of rank {ranks} is not rank 0's; step all ranks' "
                "optimizers alike, after average_gradients, or build DataParallel anew"
            )

    def _check_same_model(self) -> None:
        shapes = [
            f"{name} {p.shape} {p.dtype} {'trained' if p.requires_grad else 'frozen'}"
            for name, p in self.model.named_parameters()
        ]
        digests = self._gather(_digest("\n".join(shapes).encode()))
        ranks = np.flatnonzero((digests != digests[0]).any(axis=1))
        if len(ranks):
            raise LayoutError(
                f"rank {', '.join(map(str, ranks))} built another model than rank 0 (other names, shapes, "
                "dtypes or frozen parameters); build the model from the same arguments on all ranks"
            )
        if not shapes:
            raise LayoutError(
                f"DataParallel: {type(self.model).__name__} has no parameters, so there is nothing to train; "
                "make its layers attributes of the module, or keep them in a ModuleList"
            )

    def _check_all_have_gradients(self) -> None:
        for name, p in self.model.named_parameters():
            if p.requires_grad and p.grad is None:
                raise LayoutError(
                    f"DataParallel: {name} has no gradient on rank {self.comm.rank}; call backward before "
                    "average_gradients, and freeze what the loss does not use (requires_grad=False)"
                )

    def _gather(self, mine: np.ndarray) -> np.ndarray:
        return self.comm.allgather(mine[None])


def cut_buckets(flat: Flat, bucket_bytes: int) -> Iterator[Bucket]:
    """From the last parameter to the first: each bucket ends once it has bucket_bytes."""
    stop = start = len(flat.parameters)
    while stop:
        start -= 1
        if start == 0 or flat.bucket(start, stop)[1].nbytes >= bucket_bytes:
            yield Bucket(flat, start, stop)
            stop = start


def _digest(data: bytes) -> np.ndarray:
    return np.frombuffer(hashlib.blake2b(data, digest_size=16).digest(), np.uint8)
