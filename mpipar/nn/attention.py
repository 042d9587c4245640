"""Multi-head attention (Vaswani et al. 2017)."""

import math
from typing import Any

from mpipar.arrays import has_kernels
from mpipar.errors import OptionError, ShapeError
from mpipar.nn.init import constant, uniform
from mpipar.nn.linear import Linear
from mpipar.nn.module import Module
from mpipar.nn.parameter import Parameter
from mpipar.tensor import Tensor, attention, linear, permute, reshape, self_attention


class MultiHeadAttention(Module):
    """y = concat_h(softmax(q_h k_hᵀ/√d) v_h) W_oᵀ + b_o,   q = x W_qᵀ + b_q, k and v likewise.

    Names, as of torch.nn.MultiheadAttention with batch_first=True: in_proj_weight (3·dim, dim),
    in_proj_bias (3·dim,): the rows of q, k, v; head h has rows h·d : (h+1)·d of each;
    out_proj.weight (dim, dim), out_proj.bias.
    shapes: x (N, T, dim), memory (N, U, dim) -> (N, T, dim);   d = dim/heads
    causal: position t sees positions ≤ t
    cost: 8 N T dim² flops for the projections, 4 N T² dim for the rest
    initial values: in_proj_weight uniform in ±√(6/(4 dim)), out_proj.weight in ±1/√dim, biases 0
    errors: OptionError for heads that do not divide dim; ShapeError
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        bias: bool = True,
        *,
        causal: bool = False,
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        if num_heads < 1 or embed_dim % num_heads:
            raise OptionError(
                f"attention: {num_heads} heads cannot share a width of {embed_dim}; choose a divisor of it"
            )
        self.num_heads, self.causal = num_heads, causal
        rows = 3 * embed_dim
        bound = math.sqrt(6 / (rows + embed_dim)) if embed_dim else 0.0
        self.in_proj_weight = Parameter(uniform((rows, embed_dim), bound, dtype))
        self.in_proj_bias = Parameter(constant((rows,), 0.0, dtype)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, dtype=dtype)
        if bias:
            self.out_proj.bias = Parameter(constant((embed_dim,), 0.0, dtype))
        self.initialize(seed)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """x attends to `memory`, to itself without one."""
        memory = x if memory is None else memory
        dim = self.in_proj_weight.shape[1]
        for what in (x, memory):
            if what.ndim != 3 or what.shape[-1] != dim:
                raise ShapeError(f"attention: x {what.shape}; give it the shape (N, positions, {dim})")
        if memory is x and has_kernels(x.data):  # one large product, for each costs a launch
            joined = linear(x, self.in_proj_weight, self.in_proj_bias)
            return self.out_proj(self_attention(joined, self.num_heads, self.causal))
        q, k, v = self.project(x, 0), self.project(memory, 1), self.project(memory, 2)
        y = permute(attention(q, k, v, self.causal), (0, 2, 1, 3))
        return self.out_proj(reshape(y, (*x.shape[:2], -1)))

    def project(self, x: Tensor, which: int) -> Tensor:
        """q, k or v (which = 0, 1, 2) of every head: (N, T, dim) -> (N, heads, T, d)."""
        # slices of the weight are far smaller than slices of the result would be
        width = self.in_proj_weight.shape[0] // 3  # dim, or less where ranks share the heads
        rows = slice(which * width, (which + 1) * width)
        bias = None if self.in_proj_bias is None else self.in_proj_bias[rows]
        y = linear(x, self.in_proj_weight[rows], bias)
        return permute(reshape(y, (*x.shape[:2], self.num_heads, width // self.num_heads)), (0, 2, 1, 3))

    def describe(self) -> str:
        return f"dim={self.in_proj_weight.shape[1]}, heads={self.num_heads}, causal={self.causal}, "


class CausalSelfAttention(MultiHeadAttention):
    """MultiHeadAttention with causal=True; the same names."""

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        bias: bool = True,
        *,
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(embed_dim, num_heads, bias, causal=True, dtype=dtype, seed=seed)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)
