"""A table of vectors, one for each word."""

from typing import Any

from mpipar.nn.init import normal
from mpipar.nn.module import Module
from mpipar.nn.parameter import Parameter
from mpipar.tensor import Tensor, embedding


class Embedding(Module):
    """y = W[ids].   Name: weight (count, width), as of torch.nn.Embedding.

    shapes: ids (…,) integers -> (…, width)
    initial values: normal with deviation 1
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, *, dtype: Any = "float32", seed: int | None = None
    ) -> None:
        self.weight = Parameter(normal((num_embeddings, embedding_dim), 1.0, dtype))
        self.initialize(seed)

    def forward(self, ids: Any) -> Tensor:
        return embedding(ids, self.weight)

    def describe(self) -> str:
        return "{} x {}".format(*self.weight.shape)
