"""Data parallelism: every rank has the whole model and a part of each batch.

The gradient of a mean over the global batch of B samples is the weighted mean of the ranks'
own gradients (Li et al., PyTorch Distributed, VLDB 2020, for the equal shares of an SPMD job):

    g  =  Σ_r (B_r / B) g_r          g_r: gradient of the mean over the B_r samples of rank r

So each rank scales its gradient by its share B_r/B, an allreduce sums, and all ranks take the
same optimizer step from then on. Equal initial values plus equal gradients keep the replicas
bitwise equal, because every allreduce of ours ends bitwise equal on all ranks.

Memory a rank: all parameters, gradients and optimizer states, as in a serial run.
Messages a step: 2 n (p-1)/p bytes sent by each rank with the ring, for n bytes of parameters; in
how many messages, and when, is what the strategies of buckets.py differ in.
"""

from contextlib import contextmanager, nullcontext
from typing import Any

from mpipar.comm import Communicator
from mpipar.errors import LayoutError, OptionError
from mpipar.nn import Module, flatten_by_dtype
from mpipar.parallel.buckets import BUCKET_BYTES, plan
from mpipar.parallel.overlap import Overlap
from mpipar.parallel.replicas import check_same_model, check_same_values


class DataParallel:
    """A replica of `model` on each rank of `comm`.

        replica = DataParallel(model, world, "overlap")
        with replica.averaging(share):             # share: this rank's samples / the batch's
            loss = cross_entropy(replica(x), y)    # the mean over this rank's samples
            loss.backward()
        optimizer.step()

    Micro-batches: call backward for all but the last before `averaging`; that sends nothing. Each loss
    counts by its part of this rank's samples, see data.micro_batches.

    The constructor makes the replicas equal by broadcasting rank 0's parameters, frozen ones too, and
    verifies it.

    strategy: naive, flat, bucketed or overlap, see buckets.py
    bucket_bytes: the least size of a bucket
    algorithm: of the allreduce; with overlap ring or staged_ring, which alone can be started
    unused: what a parameter without a gradient is: an "error", or "zero" (on this rank; with overlap
        its bucket and those behind it leave only after backward)
    errors: LayoutError where the ranks built different models, the model has no parameters, or one got
        no gradient; OptionError
    """

    def __init__(
        self,
        model: Module,
        comm: Communicator,
        strategy: str = "bucketed",
        *,
        bucket_bytes: int = BUCKET_BYTES,
        algorithm: str = "auto",
        unused: str = "error",
    ) -> None:
        if unused not in ("error", "zero"):
            raise OptionError(f"unused={unused!r} is unknown; choose error or zero")
        self.model, self.comm, self.strategy = model, comm, strategy
        self.algorithm, self.unused = algorithm, unused
        check_same_model(model, comm)
        self.flats = flatten_by_dtype(model.parameters())
        self.buckets = plan(self.flats, strategy, bucket_bytes)
        with comm.scope("replicate"):
            for flat in self.flats:
                comm.bcast(flat.data, root=0)
            for p in model.parameters():
                if not p.requires_grad:  # frozen: in no Flat, since it has no gradient to sum
                    comm.bcast(p.data, root=0)
            self.verify()

    def __call__(self, *inputs: Any) -> Any:
        return self.model(*inputs)

    @contextmanager
    def averaging(self, share: float | None = None):
        """At its end, every rank's gradients are those of the mean over the global batch.

        share: this rank's samples over the global batch's, by default 1/size (equal parts); with
            0 this rank had no samples, and its gradients count as zero whatever they are
        cost: one allreduce a bucket; with strategy "overlap" started by the backward inside
        """
        share = 1 / self.comm.size if share is None else share
        sums = None
        if self.strategy == "overlap":
            sums = Overlap(self.buckets, self.comm, share, self.algorithm)
        with nullcontext() if sums is None else sums.during_backward():
            yield
        if share > 0:
            self._look_for_missing()
        with self.comm.scope("average gradients"):
            if sums is None:
                self._allreduce(share)
            else:
                sums.finish()
        for flat in self.flats:
            for p in flat.parameters:
                p.grad = p.grad_buffer

    def average_gradients(self, share: float | None = None) -> None:
        """`averaging` after backward: nothing overlaps.   share, cost: as there"""
        with self.averaging(share):
            pass

    def _allreduce(self, share: float) -> None:
        for bucket in self.buckets:
            if share == 0:
                bucket.clear()
            self.comm.allreduce(bucket.grad, algorithm=self.algorithm, out=bucket.grad, scale=share)

    def verify(self) -> None:
        """Compare all ranks' parameters, see replicas.py."""
        check_same_values(self.model, self.comm)

    def _look_for_missing(self) -> None:
        if self.unused == "zero":
            for flat in self.flats:
                flat.zero_missing()
            return
        for name, p in self.model.named_parameters():
            if p.requires_grad and p.grad is None:
                raise LayoutError(
                    f"DataParallel: {name} has no gradient on rank {self.comm.rank}; call backward "
                    "first, and freeze what the loss never uses (requires_grad=False), or pass unused='zero'"
                )
