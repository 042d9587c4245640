"""Models on a mesh: the names, initial values, dropout masks and loss of their serial twins.

Example:
    model = gpt({"vocabulary": 64, "context": 32, "seed": 0}, mesh)
    replica = DataParallel(model, mesh["dp"])
    model.loss(ids, labels).backward()      # ids: this dp rank's samples, equal on its tp ranks
    replica.average_gradients(share)
"""

from collections.abc import Sequence
from typing import Any

from mpipar.comm import Communicator
from mpipar.nn import GPT, MLP, Dropout, Parts
from mpipar.parallel.differentiable import slice_fwd_allgather_bwd
from mpipar.parallel.mesh import Mesh
from mpipar.parallel.sequence import (
    PLACES,
    SequenceAttention,
    SequenceColumnLinear,
    SequenceEmbedding,
    SequenceLayerNorm,
    SequenceRowLinear,
)
from mpipar.parallel.tensor import ColumnLinear, HeadParallelAttention, RowLinear, VocabularyEmbedding
from mpipar.parallel.vocabulary import vocabulary_cross_entropy


def gpt(config: dict[str, Any], mesh: Mesh, sequence: bool = False) -> GPT:
    """nn.GPT(**config), of which this rank has its tp part.

    sequence: between column and row layers the tp ranks share the places, too (sequence.py)
    `logits` are this rank's words, (N, T, vocabulary/tp); `loss` is that of the serial model.
    errors: LayoutError where tp does not divide vocabulary, heads or hidden, and with sequence T
    """
    return GPT(**config, parts=parts_of(mesh, sequence))


def mlp(widths: Sequence[int], mesh: Mesh, **config: Any) -> MLP:
    """nn.MLP(widths, **config), of which this rank has its tp part: column and row layers by turns.

    errors: LayoutError where tp does not divide a width that the ranks share: the outputs of layers
      0, 2, … and, with an odd number of layers, the inputs of the last
    """
    return MLP(widths, **config, parts=parts_of(mesh))


def parts_of(mesh: Mesh, sequence: bool = False) -> Parts:
    """Where a model's layers come from; serial ones where tp is 1."""
    if mesh.axes["tp"] == 1:
        return Parts()
    return SequenceParts(mesh["tp"]) if sequence else TensorParts(mesh["tp"])


class TensorParts(Parts):
    """What a model is made of on a tensor-parallel axis (see nn/parts.py)."""

    def __init__(self, tp: Communicator) -> None:
        self.tp = tp

    def column(self, width, out, bias=True, *, dtype="float32"):
        return ColumnLinear(width, out, self.tp, bias, dtype=dtype)

    def row(self, width, out, bias=True, *, input_is_parallel=True, dtype="float32"):
        return RowLinear(width, out, self.tp, bias, input_is_parallel=input_is_parallel, dtype=dtype)

    def attention(self, width, heads, *, dtype="float32"):
        return HeadParallelAttention(width, heads, self.tp, dtype=dtype)

    def tokens(self, vocabulary, width, *, dtype="float32"):
        return VocabularyEmbedding(vocabulary, width, self.tp, dtype=dtype)

    def cross_entropy(self, logits, labels, reduction="mean", ignore_index=-100):
        return vocabulary_cross_entropy(logits, labels, self.tp, reduction, ignore_index)


class SequenceParts(TensorParts):
    """The same, where the ranks of the axis share the places, too."""

    def column(self, width, out, bias=True, *, dtype="float32"):
        return SequenceColumnLinear(width, out, self.tp, bias, dtype=dtype)

    def row(self, width, out, bias=True, *, input_is_parallel=True, dtype="float32"):
        assert input_is_parallel, "a row layer without a column layer before it has no place in a transformer"
        return SequenceRowLinear(width, out, self.tp, bias, dtype=dtype)

    def attention(self, width, heads, *, dtype="float32"):
        return SequenceAttention(width, heads, self.tp, dtype=dtype)

    def tokens(self, vocabulary, width, *, dtype="float32"):
        return SequenceEmbedding(vocabulary, width, self.tp, dtype=dtype)

    def norm(self, width, *, dtype="float32"):
        return SequenceLayerNorm(width, self.tp, dtype=dtype)

    def dropout(self, p):
        return Dropout(p, part=(PLACES, self.tp.rank, self.tp.size))

    def places(self, vectors):
        return slice_fwd_allgather_bwd(vectors, self.tp)
