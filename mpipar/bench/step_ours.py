"""The program of `mpipar bench step` that trains with mpipar.   arguments: workload, ranks, weights,
strategy, port
"""

import sys
import time
from typing import Any

import numpy as np

from mpipar import nn, optim
from mpipar.arrays import asarray
from mpipar.bench.stopwatch import answer, peak_memory
from mpipar.bench.turns import serve
from mpipar.bench.workloads import GPT, MLP, WORKLOADS, replay
from mpipar.comm import world
from mpipar.parallel import DataParallel, ZeRO
from mpipar.tensor import Tensor, cross_entropy


def build(work: MLP | GPT) -> nn.Module:
    """The workload's model."""
    if isinstance(work, MLP):
        return nn.MLP(work.widths, seed=0)
    return nn.GPT(work.vocabulary, work.context, work.width, work.layers, work.heads, seed=0)


class Training:
    """One rank; without a communicator the plain loop that a user without ranks would write.

    zero: ranks step their own pieces, ZeRO's first stage, instead of all stepping everything
    """

    def __init__(self, work: MLP | GPT, comm: Any, weights: str, zero: bool = False) -> None:
        self.model = build(work)
        with np.load(weights) as values:
            self.model.load_state_dict(values)
        self.comm = comm
        if zero:
            self.forward = self.optimizer = ZeRO(self.model, optim.AdamW, comm, stage=1, lr=work.lr)
        else:
            self.forward = self.model if comm is None else DataParallel(self.model, comm)
            self.optimizer = optim.AdamW(self.model.parameters(), lr=work.lr)
        batches = work.data(0 if comm is None else comm.rank)
        self.batches = [(_input(x), asarray(labels)) for x, labels in batches]

    def step(self, number: int) -> Any:
        x, labels = self.batches[number % len(self.batches)]
        loss = cross_entropy(self.forward(x), labels)
        loss.backward()
        if self.comm is not None:
            self.forward.average_gradients()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()


def _input(x: np.ndarray) -> Any:
    return asarray(x) if x.dtype.kind == "i" else Tensor(x)


def main() -> None:
    name, ranks, weights, strategy, port = sys.argv[1:6]
    work, comm = WORKLOADS[name], world() if int(ranks) > 1 else None
    before = peak_memory()
    training = Training(work, comm, weights, zero=strategy == "zero1")
    products: list[Any] = []
    done = 0

    def reply(request: dict[str, Any]) -> dict[str, Any]:
        nonlocal done
        if "products" not in request:
            done += request["steps"]
            return answer(request, training.step, done - request["steps"], before)
        if not products:
            products.append(replay(work.products()))
        return {"times": [_seconds(products[0]) for _ in range(request["products"])]}

    serve(int(port), 0 if comm is None else comm.rank, reply)


def _seconds(function: Any) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
