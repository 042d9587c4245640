"""The peer of `mpipar bench gpu`: PyTorch eager on the same GPU.   arguments: workload, weights, TF32
(0 or 1), port
"""

import sys
import time
from typing import Any

import torch

from mpipar.bench.gpu import WORKLOADS
from mpipar.bench.peer_torch import Training
from mpipar.bench.turns import serve


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
    training, done = Training(WORKLOADS[name], 0, 1, weights, "cuda"), 0

    def reply(request: dict[str, Any]) -> dict[str, Any]:
        nonlocal done
        done += request["steps"]
        return turn(training, request["steps"], done - request["steps"])

    serve(int(port), 0, reply)


if __name__ == "__main__":
    main()
