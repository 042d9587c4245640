"""Sequence parallelism: where tensor parallelism keeps x whole, ranks share its places (Korthikanti
et al., Reducing Activation Recomputation in Large Transformer Models, 2022).

    tensor      norm, dropout on (N, T, width)     allreduce      column … row    allreduce
    sequence    norm, dropout on (N, T/p, width)   allgather      column … row    reduce-scatter

Rank r has places r T/p … (r+1) T/p - 1 of every sequence between the layers. A column layer starts
with an allgather (backward: reduce-scatter), a row layer ends in a reduce-scatter (backward:
allgather). An allreduce *is* a reduce-scatter and an allgather, so the bytes are the same; norms,
dropout and the residual stream cost 1/p of memory and time.

A parameter used on places (norms, biases of row layers) is one value on all ranks, but each rank
sees the gradient of its own places: copy_fwd_allreduce_bwd sums it, width numbers each.
Dropout draws the mask of all places and keeps its own (nn/dropout.py), so the layout does not change it.

shapes: x (N, T/p, width);   errors: LayoutError where p does not divide T
"""

from typing import Any

from mpipar.comm import Communicator
from mpipar.nn import CausalSelfAttention, LayerNorm
from mpipar.parallel.differentiable import (
    allgather_fwd_reducescatter_bwd,
    copy_fwd_allreduce_bwd,
    reducescatter_fwd_allgather_bwd,
)
from mpipar.parallel.tensor import (
    ColumnLinear,
    HeadParallelAttention,
    RowLinear,
    VocabularyEmbedding,
)
from mpipar.tensor import Tensor, layer_norm, linear

PLACES = 1  # the dim of (N, T, width) that ranks share


class SequenceColumnLinear(ColumnLinear):
    """y_r = x W_rᵀ + b_r, x joined from all ranks' places.   x_r (N, T/p, in) -> (N, T, out/p)"""

    def forward(self, x: Tensor) -> Tensor:
        x = allgather_fwd_reducescatter_bwd(x, self.tp, dim=PLACES)
        return linear(x, self.weight, self.bias)


class SequenceRowLinear(RowLinear):
    """y_r = this rank's places of Σ_s x_s W_sᵀ + b.   x_s (N, T, in/p) -> (N, T/p, out)"""

    def forward(self, x: Tensor) -> Tensor:
        y = reducescatter_fwd_allgather_bwd(linear(x, self.weight), self.tp, dim=PLACES)
        return y if self.bias is None else y + copy_fwd_allreduce_bwd(self.bias, self.tp)


class SequenceAttention(HeadParallelAttention):
    """Heads of this rank over all places.   x_r (N, T/p, width) -> (N, T/p, width)"""

    Row = SequenceRowLinear

    def forward(self, x: Tensor) -> Tensor:
        x = allgather_fwd_reducescatter_bwd(x, self.tp, dim=PLACES)
        return CausalSelfAttention.forward(self, x)  # ends in out_proj's reduce-scatter


class SequenceLayerNorm(LayerNorm):
    """LayerNorm of this rank's places; dw and db are summed over all ranks' places."""

    def __init__(self, width: int, tp: Communicator, *, dtype: Any = "float32", seed: int | None = None):
        super().__init__(width, dtype=dtype, seed=seed)
        self.tp = tp

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = (copy_fwd_allreduce_bwd(p, self.tp) for p in (self.weight, self.bias))
        return layer_norm(x, weight, bias, self.eps)


class SequenceEmbedding(VocabularyEmbedding):
    """W[ids] of this rank's places.   ids (N, T), equal on all ranks -> (N, T/p, width)"""

    def forward(self, ids: Any) -> Tensor:
        return reducescatter_fwd_allgather_bwd(self.mine(ids), self.tp, dim=PLACES)
