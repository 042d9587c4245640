"""The training steps that `mpipar bench step` measures: data, sizes and the matrix products in them.

Both programs (step_ours.py and peer_torch.py) read this file, so that both train the same model on
the same numbers. A workload says what its products are, because their time is the limit of its step.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

BATCHES = 4  # batches of a rank, which take turns


class Product(NamedTuple):
    """(m, k) times (k, n), `count` times side by side; `left`, `right`: held transposed."""

    m: int
    k: int
    n: int
    count: int = 1
    left: bool = False
    right: bool = False


@dataclass(frozen=True)
class MLP:
    """Fully connected layers with ReLU between them; `batch` rows a rank."""

    widths: tuple[int, ...]
    batch: int
    targets: dict[int, float]  # ranks -> peer's time over ours
    share: float | None = None  # of the step that its products should be
    lr: float = 1e-3

    def __str__(self) -> str:
        return f"MLP {'-'.join(map(str, self.widths))}, batch {self.batch}"

    def data(self, rank: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Batches of (x, labels)."""
        draw = np.random.default_rng(rank)
        shape = (self.batch, self.widths[0])
        return [
            (draw.standard_normal(shape, np.float32), draw.integers(0, self.widths[-1], self.batch))
            for _ in range(BATCHES)
        ]

    def products(self) -> list[Product]:
        """Of one step: y, dw and, but for the first layer, dx."""
        layers = list(pairwise(self.widths))
        return [p for i, (k, n) in enumerate(layers) for p in _linear(self.batch, k, n, with_dx=i > 0)]


@dataclass(frozen=True)
class GPT:
    """A decoder with tied embeddings; `batch` sequences of `context` tokens a rank."""

    layers: int
    width: int
    heads: int
    context: int
    vocabulary: int
    batch: int
    targets: dict[int, float]
    share: float | None = None
    lr: float = 3e-4

    def __str__(self) -> str:
        return (
            f"GPT {self.layers} layers, d {self.width}, {self.heads} heads, T {self.context}, "
            f"vocabulary {self.vocabulary}, batch {self.batch}"
        )

    def data(self, rank: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Batches of (ids, the ids that follow)."""
        draw = np.random.default_rng(rank)
        ids = draw.integers(0, self.vocabulary, (BATCHES, self.batch, self.context + 1))
        return [(x[:, :-1].copy(), x[:, 1:].copy()) for x in ids]

    def products(self) -> list[Product]:
        """Of one step; attention as if no place were masked."""
        rows, d, t, e = self.batch * self.context, self.width, self.context, self.width // self.heads
        many = self.batch * self.heads
        block = [p for k, n in ((d, 3 * d), (d, d), (d, 4 * d), (4 * d, d)) for p in _linear(rows, k, n)]
        block += [Product(t, e, t, many, right=True), Product(t, t, e, many)]  # q kᵀ, P v
        block += [Product(t, e, t, many, right=True), Product(t, t, e, many, left=True)]  # dP, dv
        block += [Product(t, t, e, many), Product(t, t, e, many, left=True)]  # dq, dk
        return block * self.layers + _linear(rows, d, self.vocabulary)


def _linear(rows: int, k: int, n: int, with_dx: bool = True) -> list[Product]:
    y, dx, dw = Product(rows, k, n, right=True), Product(rows, n, k), Product(n, rows, k, left=True)
    return [y, dx, dw] if with_dx else [y, dw]


WORKLOADS: dict[str, MLP | GPT] = {
    "mlp": MLP((784, 1024, 1024, 10), 128, {1: 1.3, 2: 1.8}, share=0.65, lr=3e-4),
    "small": MLP((64, 128, 64, 10), 32, {1: 1.2, 2: 6.0}),
    "gpt": GPT(4, 256, 8, 128, 256, 8, {1: 1.05, 2: 1.2}, share=0.75),
    "tiny": MLP((6, 8, 3), 4, {}),  # for tests, as the next
    "tiny_gpt": GPT(1, 8, 2, 4, 5, 2, {}),
}


def replay(products: list[Product]) -> Any:
    """A function that computes these products once, each into memory of its own."""
    draw, made = np.random.default_rng(0), []
    for p in products:
        a = draw.random((p.count, *((p.k, p.m) if p.left else (p.m, p.k))), np.float32)
        b = draw.random((p.count, *((p.n, p.k) if p.right else (p.k, p.n))), np.float32)
        a, b = (a.swapaxes(1, 2) if p.left else a), (b.swapaxes(1, 2) if p.right else b)
        made.append((a, b, np.empty((p.count, p.m, p.n), np.float32)))
    made = [tuple(x[0] for x in three) if len(three[2]) == 1 else three for three in made]

    def once() -> None:
        for a, b, out in made:
            np.matmul(a, b, out=out)

    return once
