"""A checkpoint and a model: do they fit, what is to be read, and putting it in.

Everything is checked and read before anything changes, so that a checkpoint which does not fit, or
cannot be read on one rank, leaves the model and its optimizer as they were on all ranks.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mpipar.arrays import asarray
from mpipar.comm import Communicator
from mpipar.errors import CheckpointError
from mpipar.nn import Module
from mpipar.parallel.agree import gathered, together
from mpipar.parallel.checkpoint_files import find
from mpipar.parallel.checkpoint_read import Stored
from mpipar.parallel.holdings import Held, Holdings
from mpipar.parallel.mesh import Mesh

Values = list[tuple[Held, np.ndarray]]  # where to put what
REBUILD = "build the model with the arguments of the one that was saved"


class Match:
    """What this rank has, and where a checkpoint has it.

    everywhere: all names that the model has on any rank
    errors: CheckpointError that tells the first parameter that only one of the two has, or its two shapes
    """

    def __init__(self, have: Holdings, stored: Stored, everywhere: set[str]) -> None:
        self.have, self.stored = have, stored
        self.saved = {names[0]: self._saved(names) for names in have.names.values()}
        unknown = [f"{name} {stored.shape(name)}" for name in stored.weights if name not in everywhere]
        other = f"{stored.path} is of another model"
        for h in have.values:
            if not self.saved[h.key]:
                instead = f", but {unknown[0]}" if unknown else ""
                raise CheckpointError(f"{other}: it has no {h.key} {h.shape}{instead}; {REBUILD}")
            there = stored.shape(self.saved[h.key][0])
            if there != h.shape:
                raise CheckpointError(f"{other}: {h.key} is {there} there and {h.shape} here; {REBUILD}")
        if unknown:
            raise CheckpointError(f"{other}: it has {unknown[0]}, which this one has not; {REBUILD}")

    def check_optimizer(self, everywhere: set[str]) -> None:
        """everywhere: the names of what the optimizers of all ranks update

        errors: CheckpointError for another optimizer, or one of other parameters or groups
        """
        there, groups = self.stored.manifest["optimizer"], len(self.have.optimizer.param_groups)
        if there is None:
            raise CheckpointError(f"{self.stored.path} was saved without an optimizer; load it without")
        other, kind = f"{self.stored.path} is of another optimizer", type(self.have.optimizer).__name__
        if (there["kind"], len(there["groups"])) != (kind, groups):
            raise CheckpointError(
                f"{other}: {there['kind']} with {len(there['groups'])} groups of parameters, and this is "
                f"{kind} with {groups}; make the one that was saved, or load without"
            )
        for state in self.have.states:
            group, _ = self._state(state.name)
            if group != state.group:
                was = "not updated" if group is None else f"in group {group}, here in {state.group}"
                raise CheckpointError(f"{other}: {state.name} was {was}; give it the same parameters")
        known = {self.stored.aliases.get(name, name) for name in everywhere} | everywhere
        for name in there["states"]:
            if name not in known:
                raise CheckpointError(f"{other}: it updated {name}, too; give it the same parameters")

    def check_schedule(self, schedule: Any) -> None:
        """errors: CheckpointError for none that was saved, or one of other groups"""
        there = self.stored.manifest["schedule"]
        if there is None or len(there["base"]) != len(schedule.base):
            was = "without a schedule" if there is None else f"with a schedule of {len(there['base'])} groups"
            raise CheckpointError(
                f"{self.stored.path} was saved {was}, and this schedule has {len(schedule.base)} groups; "
                "make the one that was saved, or load without"
            )

    def read_values(self) -> Values:
        """errors: CheckpointError for one parameter that was saved as several different ones"""
        return [(h, self._read_tied(h)) for h in self.have.values]

    def read_states(self) -> Values:
        """The optimizer's memory of what it has updated."""
        return [(h, self.stored.read(key, h.box)) for key, h in self._held_states()]

    def put_states(self, states: Values) -> None:
        """The optimizer as it was: settings, counts of updates, and these states."""
        optimizer, there = self.have.optimizer, self.stored.manifest["optimizer"]
        for group, settings in zip(optimizer.param_groups, there["groups"], strict=True):
            known = {k: v for k, v in settings.items() if k in optimizer.defaults}
            group.update({k: tuple(v) if isinstance(v, list) else v for k, v in known.items()})
        for slots in optimizer._slots:
            slots.values = {}
        for state in self.have.states:
            state.slots.steps[state.i] = self._state(state.name)[1]
        for slots in optimizer._slots:
            if any(slots.steps):
                optimizer.prepare(slots)
        put(states)

    def put_dropout(self) -> None:
        """The next masks are those that would have come."""
        there = self.stored.manifest["dropout"]
        for name, dropout in self.have.dropouts.items():
            if name in there:
                dropout.seed, dropout.calls = there[name]

    def _saved(self, names: list[str]) -> list[str]:
        """The tensors under which the parameter of these names was saved; of tied weights perhaps several."""
        return list(dict.fromkeys(s for s in map(self.stored.name_of, names) if s in self.stored.tensors))

    def _state(self, name: str) -> tuple[int | None, int]:
        """(group, updates) of a parameter; (None, 0) where the saved optimizer had it not."""
        states = self.stored.manifest["optimizer"]["states"]
        return next((tuple(states[s]) for s in self.saved[name] if s in states), (None, 0))

    def _held_states(self) -> Iterator[tuple[str, Held]]:
        for state in self.have.states:
            for saved in self.saved[state.name][:1] if self._state(state.name)[1] else []:
                for buffer in self.have.optimizer.buffers:
                    if f"{saved}/{buffer}" in self.stored.tensors:
                        yield from ((f"{saved}/{buffer}", h) for h in state.held(buffer))

    def _read_tied(self, h: Held) -> np.ndarray:
        first, *others = self.saved[h.key]
        values = self.stored.read(first, h.box)
        for other in others:
            if not np.array_equal(self.stored.read(other, h.box), values, equal_nan=True):
                raise CheckpointError(
                    f"{first} and {other} are one parameter of this model and two different ones of "
                    f"{self.stored.path}; build the model untied"
                )
        return values


def put(values: Values) -> None:
    """Write into the arrays that are held, in their dtypes."""
    for h, read in values:
        h.view()[...] = asarray(read.astype(h.dtype, copy=False))


def opened(
    path: str | Path, ranks: Mesh | Communicator, model: Module, optimizer: Any, plain: bool = False
) -> tuple[Communicator, Holdings, Stored]:
    """The ranks, what this one has, and the checkpoint that rank 0 found; collective.   plain: see find"""
    comm = getattr(ranks, "comm", ranks)
    with together(comm):
        found = str(find(path, plain))
    found = gathered(comm, found)[0]
    with together(comm):
        return comm, Holdings(model, optimizer), Stored(Path(found))


def everywhere(comm: Communicator, names: list[str]) -> set[str]:
    """The names of all ranks; collective."""
    return {name for of_rank in gathered(comm, names) for name in of_rank}
