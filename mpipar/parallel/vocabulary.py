"""The two operations that see the whole vocabulary, where ranks share it (Shoeybi et al. 2019, 3).

Rank r has rows first … first + V/p - 1 of the table of words, and the logits of these words. No
rank ever holds the logits of all V words, the largest tensor of a language model: N T V numbers.
"""

from typing import Any

from mpipar.arrays import add_rows, xp
from mpipar.comm import Communicator
from mpipar.tensor import Tensor
from mpipar.tensor.checks import check_ids, check_tensors, constant
from mpipar.tensor.loss import check_labels


def partial_embedding(ids: Any, weight: Tensor, first: int, vocabulary: int) -> Tensor:
    """y[…,:] = w[ids[…] - first,:] where this rank has that row, else 0;   dw as of embedding.

    The sum of y over the ranks is the embedding; nothing is sent here.
    shapes: ids (…,) integers, weight (rows, width) -> (…, width)
    errors: LabelError for the first id outside the vocabulary; ShapeError, DTypeError
    """
    check_tensors("partial_embedding", weight)
    ids = constant("partial_embedding", "ids", ids)
    check_ids("partial_embedding", "id", ids, 0, vocabulary, "rows")
    local, here = _local(ids, first, weight.shape[0])
    y = weight.data[local]
    y *= here[..., None]

    def vjp(dy):
        dw = xp.zeros(weight.shape, dy.dtype)
        add_rows(dw, local, dy * here[..., None])
        return (dw,)

    return Tensor(y, (weight,), vjp)


def vocabulary_cross_entropy(
    logits: Tensor,
    labels: Any,
    comm: Communicator,
    reduction: str = "mean",
    ignore_index: int | None = -100,
) -> Tensor:
    """tensor.cross_entropy of logits whose last dim the ranks share; the same number on all ranks.

    L = Σᵣ (ln s_r - z_r) / n   with m = max x, s = Σ exp(x - m), z = x_t - m over all ranks' x
    dx = (exp(x - m)/s - e_t) dL / n   for this rank's words, without a message
    shapes: logits (…, V/p), labels (…,) integers below V -> L ()
    sends: an allreduce of m, one of s and z together: 3 numbers a place instead of V
    errors: as tensor.cross_entropy
    """
    op = "vocabulary_cross_entropy"
    target, kept, weight = check_labels(op, logits, labels, reduction, ignore_index, comm.size)
    words = logits.shape[-1]
    kept = xp.ones(target.shape, bool) if kept is None else kept
    local, here = _local(target, comm.rank * words, words)
    rows = xp.arange(target.size)
    p = logits.data.reshape(target.size, words)
    p = p - comm.allreduce(p.max(axis=1), op="max")[:, None]
    picked = xp.where(here & kept, p[rows, local], 0)
    xp.exp(p, out=p)
    both = comm.allreduce(xp.stack([p.sum(axis=1), picked]))
    s, z = both[0], both[1]
    p /= s[:, None]
    losses = xp.where(kept, xp.log(s) - z, 0)

    def vjp(dy):
        dx = p.copy()
        dx[rows, local] -= here  # no place twice: one label a row
        dx *= dy * weight
        dx[~kept] = 0  # not times 0: a row that is not kept may hold infinities
        return (dx.reshape(logits.shape),)

    return Tensor(losses.sum() * weight, (logits,), vjp)


def _local(ids: Any, first: int, rows: int) -> tuple[Any, Any]:
    """Each id's row here, or 0 where another rank has it; and whether it is here."""
    here = (ids >= first) & (ids < first + rows)
    return xp.where(here, ids - first, 0), here
