"""The peer of `mpipar bench gpu`: PyTorch eager on the same GPU.   arguments: workload, weights, TF32
(0 or 1), port
"""

import sys
import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from mpipar.bench.gpu import WORKLOADS
from mpipar.bench.peer_torch import build
from mpipar.bench.turns import serve


class Training:
    """The plain loop on one GPU."""

    def __init__(self, work: Any, weights: str) -> None:
        self.model = build(work)
        with np.load(weights) as values:
            self.model.load_state_dict({name: torch.from_numpy(values[name]) for name in values.files})
        self.model.cuda()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=work.lr)
        pairs = work.data(0)
        self.batches = [(torch.from_numpy(x).cuda(), torch.from_numpy(labels).cuda()) for x, labels in pairs]

    def step(self, number: int) -> torch.Tensor:
        x, labels = self.batches[number % len(self.batches)]
        loss = F.cross_entropy(self.model(x).flatten(0, -2), labels.flatten())
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()


def turn(training: Training, steps: int, number: int) -> dict[str, Any]:
    """As gpu_ours.turn."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    losses = [training.step(number + i) for i in range(steps)]
    torch.cuda.synchronize()
    seconds = (time.perf_counter() - start) / steps
    return {"seconds": seconds, "losses": [loss.item() for loss in losses]}


def main() -> None:
    name, weights, tf32, port = sys.argv[1:5]
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32 == "1"
    training, done = Training(WORKLOADS[name], weights), 0

    def reply(request: dict[str, Any]) -> dict[str, Any]:
        nonlocal done
        done += request["steps"]
        return turn(training, request["steps"], done - request["steps"])

    serve(int(port), 0, reply)


if __name__ == "__main__":
    main()
