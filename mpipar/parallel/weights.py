"""Weights to and from PyTorch and others: safetensors files under the names of PyTorch's state_dict.

    export_weights("runs/mine", "weights.safetensors")         PyTorch: twin.load_state_dict(load_file(…))
    load_weights("weights.safetensors", mesh, model)           PyTorch: save_file(twin.state_dict(), …)

load_file and save_file are those of safetensors.torch; of tied weights it saves one name alone.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from mpipar.comm import Communicator
from mpipar.nn import Module
from mpipar.parallel.agree import together
from mpipar.parallel.checkpoint_files import find, move, write_arrays
from mpipar.parallel.checkpoint_match import Match, everywhere, opened, put
from mpipar.parallel.checkpoint_read import Stored
from mpipar.parallel.mesh import Mesh


def load_weights(path: str | Path, ranks: Mesh | Communicator, model: Module, optimizer: Any = None) -> None:
    """Values alone, of a checkpoint or of a safetensors file with PyTorch's state_dict; collective.

    optimizer: a ZeRO of stage 3, which has the values;   cost, errors: as `load`
    """
    comm, have, stored = opened(path, ranks, model, optimizer, plain=True)
    names = everywhere(comm, have.all_names)
    with together(comm):
        values = Match(have, stored, names).read_values()
    put(values)


def whole_weights(path: str | Path) -> dict[str, np.ndarray]:
    """The model's values in a checkpoint as the serial model's state_dict(), on the host.   errors: as `load`

    For PyTorch: twin.load_state_dict({k: torch.from_numpy(v) for k, v in whole_weights(path).items()})
    """
    stored = Stored(find(path, plain=True))
    values = {name: stored.read(name) for name in stored.weights}
    return values | {alias: values[name] for alias, name in stored.aliases.items() if alias not in values}


def export_weights(path: str | Path, file: str | Path) -> None:
    """whole_weights as one safetensors file, for safetensors.torch.load_file.   errors: CheckpointError"""
    file = Path(file)
    beside = file.with_name(f".{file.name}.writing")
    try:
        write_arrays(beside, whole_weights(path), {"format": "pt"})
        move(beside, file)
    finally:
        with suppress(OSError):
            beside.unlink()
