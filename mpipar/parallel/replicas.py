"""Whether the ranks have the same model: the same layout before training, the same values at any time.

Digests travel instead of the values (BLAKE2b, 16 bytes), so a check costs next to no messages.
"""

import hashlib

import numpy as np

from mpipar.arrays import to_host
from mpipar.comm import Communicator
from mpipar.errors import LayoutError
from mpipar.nn import Module


def check_same_model(model: Module, comm: Communicator) -> None:
    """Compare names, shapes, dtypes and what is frozen.

    errors: LayoutError that names the ranks that differ from rank 0, or where there is nothing to train
    """
    shapes = [
        f"{name} {p.shape} {p.dtype} {'trained' if p.requires_grad else 'frozen'}"
        for name, p in model.named_parameters()
    ]
    digests = comm.allgather(_digest("\n".join(shapes).encode())[None])
    ranks = np.flatnonzero((digests != digests[0]).any(axis=1))
    if len(ranks):
        raise LayoutError(
            f"rank {', '.join(map(str, ranks))} built another model than rank 0 (other names, shapes, "
            "dtypes or frozen parameters); build the model from the same arguments on all ranks"
        )
    if not shapes:
        raise LayoutError(
            f"DataParallel: {type(model).__name__} has no parameters, so there is nothing to train; "
            "make its layers attributes of the module, or keep them in a ModuleList"
        )


def check_same_values(model: Module, comm: Communicator) -> None:
    """Compare all parameters bit for bit.

    cost: the parameters copied to the host and hashed, 16 bytes a parameter gathered
    errors: LayoutError that names the first parameter and the ranks that differ from rank 0
    """
    names, parameters = zip(*model.named_parameters(), strict=True)
    digests = comm.allgather(np.stack([_digest(to_host(p.data).tobytes()) for p in parameters])[None])
    differs = (digests != digests[0]).any(axis=2)  # rank × parameter
    if differs.any():
        parameter = int(differs.any(axis=0).argmax())
        ranks = ", ".join(map(str, np.flatnonzero(differs[:, parameter])))
        raise LayoutError(
            f"the replicas differ: {names[parameter]} of rank {ranks} is not rank 0's; step all ranks' "
            "optimizers alike, after average_gradients, or build DataParallel anew"
        )


def _digest(data: bytes) -> np.ndarray:
    return np.frombuffer(hashlib.blake2b(data, digest_size=16).digest(), np.uint8)
