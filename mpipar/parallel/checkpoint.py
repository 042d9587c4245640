"""Checkpoints that move between layouts: saved by four tensor-parallel ranks, loaded by two replicas.

    save(folder, mesh, model, optimizer, step=120)          all ranks; runs/mine/step-000120
    resumed = load(folder, mesh, model, optimizer)          all ranks, of any mesh; resumed.step is 120

Every tensor is stored under its global name, in boxes: which part of the whole, whatever cut it. All
ranks write at once. What several of them have, as replicas do, one of them writes, so that all write
about as much. Loading reads the boxes that a rank of the new mesh needs, whoever wrote them.

On the same mesh the run goes on bit by bit as it would have: values, the optimizer's state and
settings, its schedule, the position in the data, and the dropout masks are as they were.

Both succeed on all ranks, or raise the same CheckpointError on all; then nothing has changed: not
the model, not the optimizer, and the checkpoint before is still the last one.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import mpipar
from mpipar.arrays import to_host
from mpipar.comm import Communicator
from mpipar.errors import CheckpointError
from mpipar.nn import Module
from mpipar.parallel.agree import gathered, together
from mpipar.parallel.checkpoint_files import finish, latest, prepare, remove, write_arrays, writing
from mpipar.parallel.checkpoint_match import Match, everywhere, opened, put
from mpipar.parallel.checkpoint_plan import manifest_of, tell, to_save, writers
from mpipar.parallel.checkpoint_read import part_of
from mpipar.parallel.holdings import Held, Holdings
from mpipar.parallel.mesh import Mesh

__all__ = ["Resumed", "latest", "load", "save"]
PROGRESS = ("step", "epoch", "batch", "extra")


@dataclass(frozen=True)
class Resumed:
    """Where the run was: what `save` was told, and the checkpoint's own folder."""

    step: int
    epoch: int
    batch: int
    extra: dict[str, Any]
    path: Path


def save(
    folder: str | Path,
    ranks: Mesh | Communicator,
    model: Module,
    optimizer: Any = None,
    schedule: Any = None,
    *,
    step: int,
    epoch: int = 0,
    batch: int = 0,
    extra: dict[str, Any] | None = None,
    keep: int = 2,
) -> Path:
    """Write folder/step-… and remove all but the last `keep` there.   returns: its path;   collective

    ranks: all that have a part of the model or a replica of it
    model: this rank's part; of a pipeline its stages' modules, under their names in the whole model
    optimizer: an Optimizer or a ZeRO;   schedule: of its learning rate
    step: updates done;   epoch, batch: global batches done in this epoch;   extra: anything more, as JSON
    cost: the disk takes every number once; ranks gather a line of text for each tensor that they have
    errors: CheckpointError where a rank cannot write, or the folder has a later step
    """
    comm, folder = getattr(ranks, "comm", ranks), Path(folder)
    progress = dict(zip(PROGRESS, (step, epoch, batch, extra or {}), strict=True))
    with together(comm):
        _check(progress, keep)
        have = Holdings(model, optimizer)
        held = to_save(have)
    told = gathered(comm, tell(step, have, held))
    with together(comm):
        owner = writers(told)
        written = prepare(folder, step) if comm.rank == 0 else writing(folder, step)
    with together(comm, undo=lambda: remove(written)):
        mine = [h for h in held if owner[h.key, h.box] == comm.rank]
        parts = _write(written / f"rank-{comm.rank:04}.safetensors", mine)
    parts = [part for of_rank in gathered(comm, parts) for part in of_rank]
    with together(comm, undo=lambda: remove(written)):
        if comm.rank == 0:
            mesh = getattr(ranks, "axes", {"dp": comm.size})
            about = {
                "mpipar": mpipar.__version__,
                "mesh": mesh,
                "schedule": schedule and schedule.state_dict(),
            }
            finish(written, about | progress | manifest_of(told, parts), keep)
    return folder / f"step-{step:06}"


def load(
    path: str | Path, ranks: Mesh | Communicator, model: Module, optimizer: Any = None, schedule: Any = None
) -> Resumed:
    """Go on from the last checkpoint in the folder, or from the one whose own folder is given; collective.

    As `save`, on any mesh. Numbers are converted to the model's dtype. Without optimizer: values alone.
    cost: each rank reads what it needs, and has it twice until all ranks have read theirs
    errors: CheckpointError for none, a damaged or foreign one, one of a newer format, or one of
      another model, optimizer or schedule
    """
    comm, have, stored = opened(path, ranks, model, optimizer)
    names, updated = everywhere(comm, have.all_names), everywhere(comm, have.updated_names)
    with together(comm):
        match = Match(have, stored, names)
        if optimizer is not None:
            match.check_optimizer(updated)
        if schedule is not None:
            match.check_schedule(schedule)
        values, states = match.read_values(), [] if optimizer is None else match.read_states()
    put(values)
    if optimizer is not None:
        match.put_states(states)
    if schedule is not None:
        schedule.load_state_dict(stored.manifest["schedule"])
    match.put_dropout()
    return Resumed(*(stored.manifest[k] for k in PROGRESS), stored.path)


def _check(progress: dict[str, Any], keep: int) -> None:
    if keep < 1 or min(progress[k] for k in PROGRESS[:3]) < 0:
        raise CheckpointError(f"save: keep={keep}, {progress}; keep at least 1, and count from 0")
    try:
        json.dumps(progress)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"save: {error}, in {progress}; give numbers, texts, lists and dicts") from None


def _write(file: Path, mine: list[Held]) -> list[tuple[str, Any]]:
    """returns: of each tensor its key and its line for the manifest"""
    arrays = {h.label: np.asarray(to_host(h.view()), order="C") for h in mine}
    if mine:
        write_arrays(file, arrays, {h.label: json.dumps(h[:3]) for h in mine})
    return [(h.key, part_of(file.name, h.label, h.box, arrays[h.label])) for h in mine]
