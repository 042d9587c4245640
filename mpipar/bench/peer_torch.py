"""The program of `mpipar bench step` that trains with PyTorch: DDP over gloo, one thread a rank.

arguments: workload, ranks, weights, rank, a file where the ranks meet, port
Models are written as a user of PyTorch would: nn.Sequential, and a GPT on
scaled_dot_product_attention, with the names that mpipar's have.
"""

import sys
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mpipar.bench.stopwatch import answer, peak_memory
from mpipar.bench.turns import serve
from mpipar.bench.workloads import GPT, MLP, WORKLOADS


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, width = x.shape
        joined = F.linear(x, self.in_proj_weight, self.in_proj_bias).split(width, dim=2)
        q, k, v = (y.view(n, t, self.heads, width // self.heads).transpose(1, 2) for y in joined)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(y.transpose(1, 2).reshape(n, t, width))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.linear1, self.linear2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.self_attn(self.norm1(x))
        return x + self.linear2(F.gelu(self.linear1(self.norm2(x)), approximate="tanh"))


class Decoder(nn.Module):
    def __init__(self, work: GPT) -> None:
        super().__init__()
        self.tokens = nn.Embedding(work.vocabulary, work.width)
        self.positions = nn.Embedding(work.context, work.width)
        self.layers = nn.ModuleList(Block(work.width, work.heads) for _ in range(work.layers))
        self.norm = nn.LayerNorm(work.width)
        self.head = nn.Linear(work.width, work.vocabulary, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
        for block in self.layers:
            x = block(x)
        return self.head(self.norm(x))


def build(work: MLP | GPT) -> nn.Module:
    """The workload's model."""
    if isinstance(work, GPT):
        return Decoder(work)
    layers: list[nn.Module] = []
    for k, n in zip(work.widths, work.widths[1:], strict=False):
        layers += [nn.Linear(k, n), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Training:
    """One rank; without others the plain loop, without DDP.   device: where it computes, as torch names it"""

    def __init__(self, work: MLP | GPT, rank: int, ranks: int, weights: str, device: str = "cpu") -> None:
        self.model = build(work)
        with np.load(weights) as values:
            self.model.load_state_dict({name: torch.from_numpy(values[name]) for name in values.files})
        self.model.to(device)
        if ranks > 1:
            self.model = nn.parallel.DistributedDataParallel(self.model)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=work.lr)
        pairs = [map(torch.from_numpy, pair) for pair in work.data(rank)]
        self.batches = [(x.to(device), labels.to(device)) for x, labels in pairs]

    def step(self, number: int) -> Any:
        x, labels = self.batches[number % len(self.batches)]
        loss = F.cross_entropy(self.model(x).flatten(0, -2), labels.flatten())
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()


def main() -> None:
    name, ranks, weights, rank, meeting, port = sys.argv[1:7]
    torch.set_num_threads(1)
    if int(ranks) > 1:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{meeting}", rank=int(rank), world_size=int(ranks)
        )
    before, done = peak_memory(), 0
    training = Training(WORKLOADS[name], int(rank), int(ranks), weights)

    def reply(request: dict[str, Any]) -> dict[str, Any]:
        nonlocal done
        done += request["steps"]
        return answer(request, training.step, done - request["steps"], before)

    serve(int(port), int(rank), reply)
    if int(ranks) > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
