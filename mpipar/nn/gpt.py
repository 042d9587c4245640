"""A decoder-only transformer, GPT-2's layout (Radford et al. 2019): pre-norm, learned positions."""

import math
from dataclasses import replace
from typing import Any

from mpipar.errors import ShapeError
from mpipar.nn.chain import Layer
from mpipar.nn.container import ModuleList
from mpipar.nn.embedding import Embedding
from mpipar.nn.init import Init
from mpipar.nn.module import Module
from mpipar.nn.parts import SERIAL, Parts
from mpipar.tensor import Tensor, gelu

STD = 0.02  # of the initial weights, as in GPT-2


class Block(Module):
    """x + attention(norm1(x)), then x + linear2(gelu(linear1(norm2(x)))).

    Names: those of torch.nn.TransformerEncoderLayer(norm_first=True, batch_first=True), with
    gelu's tanh form as its activation: self_attn.*, linear1.*, linear2.*, norm1.*, norm2.*
    """

    def __init__(
        self,
        width: int,
        heads: int,
        dropout: float = 0.0,
        *,
        hidden: int | None = None,
        parts: Parts = SERIAL,
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        hidden = hidden or 4 * width
        self.self_attn = parts.attention(width, heads, dtype=dtype)
        self.linear1 = parts.column(width, hidden, dtype=dtype)
        self.linear2 = parts.row(hidden, width, dtype=dtype)
        self.norm1 = parts.norm(width, dtype=dtype)
        self.norm2 = parts.norm(width, dtype=dtype)
        self.dropout1 = parts.dropout(dropout)
        self.dropout2 = parts.dropout(dropout)
        self.initialize(seed)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout1(self.self_attn(self.norm1(x)))
        return x + self.dropout2(self.linear2(gelu(self.linear1(self.norm2(x)))))


class GPT(Module):
    """ids -> logits of the next token at every place.

    Names: tokens.weight (vocabulary, width), positions.weight (context, width), layers.i.* as of
    torch.nn.TransformerEncoderLayer (see Block), norm.*, head.weight (vocabulary, width). With
    tied=True head.weight *is* tokens.weight (Press & Wolf 2017), and both names are in the state.
    shapes: ids (N, T) integers, T ≤ context -> (N, T, vocabulary)
    cost: about 2·num_parameters flops a token forward, twice that backward (Kaplan et al. 2020)
    initial values: weights normal with deviation 0.02, over √(2 layers) for those whose result is
      added to the residual stream (self_attn.out_proj, linear2); biases 0; norms 1 and 0
    parts: where the layers come from, see nn/parts.py and parallel/models.py
    errors: ShapeError for ids that are not (N, T), or longer than the context
    """

    def __init__(
        self,
        vocabulary: int,
        context: int,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        *,
        tied: bool = True,
        dropout: float = 0.0,
        hidden: int | None = None,
        parts: Parts = SERIAL,
        seed: int | None = None,
        dtype: Any = "float32",
    ) -> None:
        self.parts = parts
        self.tokens = parts.tokens(vocabulary, width, dtype=dtype)
        self.positions = Embedding(context, width, dtype=dtype)
        self.dropout = parts.dropout(dropout)
        self.layers = ModuleList(
            Block(width, heads, dropout, hidden=hidden, parts=parts, dtype=dtype) for _ in range(layers)
        )
        self.norm = parts.norm(width, dtype=dtype)
        self.head = parts.column(width, vocabulary, bias=False, dtype=dtype)
        if tied:
            self.head.weight = self.tokens.weight
        for name, p in self.named_parameters():
            p.init = gpt_init(name, p.init, layers)
        self.initialize(seed)

    def forward(self, ids: Any) -> Tensor:
        x = self.embed(ids)
        for block in self.layers:
            x = block(x)
        return self.logits(x)

    def embed(self, ids: Any, first: int = 0) -> Tensor:
        """The blocks' input (N, T, width); `first`: the position of ids[:, 0] in the context."""
        context = self.positions.weight.shape[0]
        if len(ids.shape) != 2 or not 0 <= first <= first + ids.shape[1] <= context:
            raise ShapeError(
                f"GPT: ids {ids.shape} from position {first} on; give (N, T) with at most {context} positions"
            )
        places = self.positions.weight[first : first + ids.shape[1]]
        return self.dropout(self.tokens(ids) + self.parts.places(places))

    def logits(self, x: Tensor) -> Tensor:
        """From the last block's output (N, T, width)."""
        return self.head(self.norm(x))

    def loss(self, ids: Any, labels: Any, reduction: str = "mean") -> Tensor:
        """The cross-entropy of the next tokens, labels (N, T), over all places not labelled -100."""
        return self.criterion(self(ids), labels, reduction)

    def criterion(self, logits: Tensor, labels: Any, reduction: str = "mean") -> Tensor:
        """The same, from the logits."""
        return self.parts.cross_entropy(logits, labels, reduction)

    def chain(self) -> list[Layer]:
        """Embedding, blocks, head; see chain.py."""
        first = {"tokens": self.tokens, "positions": self.positions, "dropout": self.dropout}
        blocks = [Layer({f"layers.{i}": block}, block) for i, block in enumerate(self.layers)]
        return [Layer(first, self.embed), *blocks, Layer({"norm": self.norm, "head": self.head}, self.logits)]


def gpt_init(name: str, usual: Init, layers: int) -> Init:
    """GPT-2's recipe for a parameter of that name."""
    if "norm" in name:
        return usual
    if name.endswith("bias"):
        return replace(usual, kind="constant", scale=0.0)
    residual = name.endswith(("self_attn.out_proj.weight", "linear2.weight"))
    return replace(usual, kind="normal", scale=STD / math.sqrt(2 * layers) if residual else STD)
