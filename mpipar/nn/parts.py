"""The layers that models are made of, by what they do in the model.

A model asks its `parts` for layers instead of naming classes, so that one text of GPT serves the
serial program and every layout: parallel/models.py hands in the parts whose layers send messages.
A column layer is followed, after element-by-element operations, by a row layer: in Megatron's
cut (Shoeybi et al. 2019) the first has a part of the outputs, the second the same part as inputs.
"""

from typing import Any

from mpipar.nn.attention import CausalSelfAttention
from mpipar.nn.dropout import Dropout
from mpipar.nn.embedding import Embedding
from mpipar.nn.linear import Linear
from mpipar.nn.norm import LayerNorm
from mpipar.tensor import Tensor, cross_entropy


class Parts:
    """The serial parts: every rank has all of every layer."""

    def column(self, width: int, out: int, bias: bool = True, *, dtype: Any = "float32") -> Any:
        """A linear layer whose outputs ranks may share."""
        return Linear(width, out, bias, dtype=dtype)

    def row(
        self,
        width: int,
        out: int,
        bias: bool = True,
        *,
        input_is_parallel: bool = True,
        dtype: Any = "float32",
    ) -> Any:
        """A linear layer whose inputs ranks may share.   input_is_parallel: they come from a column layer"""
        return Linear(width, out, bias, dtype=dtype)

    def attention(self, width: int, heads: int, *, dtype: Any = "float32") -> Any:
        """Causal self-attention."""
        return CausalSelfAttention(width, heads, dtype=dtype)

    def tokens(self, vocabulary: int, width: int, *, dtype: Any = "float32") -> Any:
        """The table of a vector for each word."""
        return Embedding(vocabulary, width, dtype=dtype)

    def norm(self, width: int, *, dtype: Any = "float32") -> Any:
        """The normalisation before attention, before the linear layers, and before the head."""
        return LayerNorm(width, dtype=dtype)

    def dropout(self, p: float) -> Any:
        """Dropout of what is added to the residual stream (N, T, width)."""
        return Dropout(p)

    def places(self, vectors: Tensor) -> Tensor:
        """Of vectors (T, width), one for each position, those that the residual stream has here."""
        return vectors

    def cross_entropy(
        self, logits: Tensor, labels: Any, reduction: str = "mean", ignore_index: int | None = -100
    ) -> Tensor:
        """The loss of logits as `column` gives them."""
        return cross_entropy(logits, labels, reduction, ignore_index)


SERIAL = Parts()
