"""Tensor parallelism: the ranks of an axis share each layer's weights (Shoeybi et al. 2019).

    column      y_r = x W_rᵀ + b_r     rank r owns rows W_r (outputs), x is one value on all ranks
    row         y = Σ_r x_r W_rᵀ + b   rank r owns columns W_r (inputs) and x_r, as `column` leaves it

A column layer, element-by-element operations and a row layer need one allreduce forward (in the
row layer) and one backward (in the column layer: dx = Σ_r dy_r W_r). An attention layer is such a
pair: heads instead of columns. In between nothing is sent.

Memory a rank: 1/p of weights, their gradients and optimizer states; biases of row layers, norms and
positions whole.   Messages of a transformer block of input (N, T, width), n bytes: 2 allreduces of n
forward, 2 backward, so 8 n (p-1)/p bytes sent by each rank with the ring.

Names and initial values are those of the serial layers, drawn whole and cut (p.shard tells where).
errors: LayoutError for sizes that the ranks cannot share
"""

from typing import Any

from mpipar.comm import Communicator
from mpipar.errors import LayoutError
from mpipar.nn import CausalSelfAttention, Embedding, Linear
from mpipar.parallel.differentiable import (
    allgather_fwd_slice_bwd,
    allreduce_fwd_copy_bwd,
    copy_fwd_allreduce_bwd,
    slice_fwd_allgather_bwd,
)
from mpipar.parallel.shards import sharded
from mpipar.parallel.vocabulary import partial_embedding
from mpipar.tensor import Tensor, linear


class ColumnLinear(Linear):
    """y_r = x W_rᵀ + b_r;   dx = Σ_r dy_r W_r,   dW_r = dy_rᵀ x,   db_r = Σ dy_r.

    shapes: x (…, in), equal on all ranks -> (…, out/p), or with gather_output (…, out) on all ranks
    sends: an allreduce of dx; with gather_output an allgather of y_r
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        tp: Communicator,
        bias: bool = True,
        *,
        gather_output: bool = False,
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, dtype=dtype)
        self.tp, self.gather_output = tp, gather_output
        self.weight = sharded("ColumnLinear: weight", self.weight, tp)
        self.bias = sharded("ColumnLinear: bias", self.bias, tp)
        self.initialize(seed)

    def forward(self, x: Tensor) -> Tensor:
        x = copy_fwd_allreduce_bwd(x, self.tp)
        y = linear(x, self.weight, self.bias)
        return allgather_fwd_slice_bwd(y, self.tp, dim=-1) if self.gather_output else y


class RowLinear(Linear):
    """y = Σ_r x_r W_rᵀ + b;   dx_r = dy W_r,   dW_r = dyᵀ x_r,   db = Σ dy.   b is added once.

    shapes: x_r (…, in/p), or without input_is_parallel x (…, in), equal on all ranks -> (…, out) there
    sends: an allreduce of y; without input_is_parallel an allgather of dx_r
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        tp: Communicator,
        bias: bool = True,
        *,
        input_is_parallel: bool = True,
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, dtype=dtype)
        self.tp, self.input_is_parallel = tp, input_is_parallel
        self.weight = sharded("RowLinear: weight", self.weight, tp, dim=1)
        self.initialize(seed)

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.input_is_parallel else slice_fwd_allgather_bwd(x, self.tp, dim=-1)
        y = allreduce_fwd_copy_bwd(linear(x, self.weight), self.tp)
        return y if self.bias is None else y + self.bias


class HeadParallelAttention(CausalSelfAttention):
    """CausalSelfAttention, of which rank r computes the heads r H/p … (r+1) H/p - 1.

    in_proj_weight has the rows of these heads in q, in k and in v; out_proj is a RowLinear over them.
    sends: an allreduce of y, an allreduce of dx
    """

    Row: type[RowLinear] = RowLinear

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        tp: Communicator,
        bias: bool = True,
        *,
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(embed_dim, num_heads, bias, dtype=dtype)
        if num_heads % tp.size:
            axis = tp.axis or "tp"
            raise LayoutError(
                f"{type(self).__name__}: {num_heads} heads, which {tp.size} {axis} ranks cannot share; "
                f"choose a multiple of {tp.size} heads or change {axis}"
            )
        self.tp, self.num_heads = tp, num_heads // tp.size
        self.in_proj_weight = sharded("attention: in_proj_weight", self.in_proj_weight, tp, groups=3)
        self.in_proj_bias = sharded("attention: in_proj_bias", self.in_proj_bias, tp, groups=3)
        first_bias = self.out_proj.bias  # 0, which Linear's would not be
        self.out_proj = self.Row(embed_dim, embed_dim, tp, bias, dtype=dtype)
        self.out_proj.bias = first_bias
        self.initialize(seed)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(copy_fwd_allreduce_bwd(x, self.tp))  # ends in out_proj's allreduce


class VocabularyEmbedding(Embedding):
    """y = W[ids], of which rank r owns the rows of V/p words.

    shapes: ids (…,) integers, equal on all ranks -> (…, width) on all ranks
    sends: an allreduce of y, to which each id's owner alone contributes; none backward
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        tp: Communicator,
        *,
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(num_embeddings, embedding_dim, dtype=dtype)
        self.tp = tp
        self.weight = sharded("VocabularyEmbedding: weight", self.weight, tp)
        self.initialize(seed)

    def forward(self, ids: Any) -> Tensor:
        return allreduce_fwd_copy_bwd(self.mine(ids), self.tp)

    def mine(self, ids: Any) -> Tensor:
        """y where this rank owns the word, else 0."""
        ((first, _),) = self.weight.shard.ranges
        return partial_embedding(ids, self.weight, first, self.weight.shard.shape[0])
