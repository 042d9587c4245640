"""The checkpoints of `mpipar train`: when they are written, and what has to fit to go on from one."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from mpipar.errors import CheckpointError, OptionError
from mpipar.parallel.build import build_model
from mpipar.parallel.checkpoint import latest, load, save
from mpipar.parallel.checkpoint_files import find
from mpipar.parallel.checkpoint_match import Match
from mpipar.parallel.checkpoint_read import Stored
from mpipar.parallel.holdings import Holdings
from mpipar.parallel.job import Job, length_of
from mpipar.parallel.options import Options, option, words_of
from mpipar.parallel.samples import Samples


@dataclass(frozen=True)
class Saving:
    """One field an option of the command line."""

    checkpoint: str | None = option(None, "a folder to save the training in")
    checkpoint_every: int | None = option(None, "steps; by default it is saved at the end alone")
    keep: int = option(2, "checkpoints that stay")
    resume: bool = option(False, "go on from the last one in --checkpoint")

    def words(self) -> list[str]:
        """As Options.words."""
        return words_of(self)

    def is_due(self, step: int, last: int) -> bool:
        """Whether to save after this step."""
        every = self.checkpoint_every
        return self.checkpoint is not None and (step == last or bool(every and step % every == 0))


def check_saving(saving: Saving, options: Options, samples: Samples) -> None:
    """Refuse what cannot be met, before any rank is started.

    errors: OptionError; CheckpointError for none to go on from, a damaged, foreign or newer one, one of
      another model, other data or later than the end, and for a folder that has some where none is
      gone on from, or cannot be written to
    """
    folder = saving.checkpoint
    for name in ("checkpoint_every", "keep"):
        value, flag = getattr(saving, name), "--" + name.replace("_", "-")
        if value is not None and value < 1:
            raise OptionError(f"{flag} {value} is too few; give 1 or more")
        if folder is None and value != getattr(Saving, name):
            raise OptionError(f"{flag} is for checkpoints; give --checkpoint a folder, too")
    if folder is None and saving.resume:
        raise OptionError("--resume goes on from a checkpoint; give --checkpoint the folder that has it")
    if saving.resume:
        stored, have = Stored(find(folder)), Holdings(build_model(options, samples))
        Match(have, stored, set(have.all_names))
        _check_progress(stored, options, length_of(options, len(samples.y)))
    elif folder is not None and (last := latest(folder)) is not None:
        raise CheckpointError(
            f"--checkpoint {folder} has {last.name} of an earlier run; give --resume to go on from it, or "
            "another folder"
        )
    if folder is not None:
        _check_writable(Path(folder).absolute())


def _check_writable(folder: Path) -> None:
    """Make a file in the folder, or where it would be made, and remove it."""
    parent = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise CheckpointError(
            f"--checkpoint {folder}: {parent} cannot be written to ({error.strerror}); choose another folder"
        ) from None


def save_job(job: Job, saving: Saving) -> None:
    """Collective.   errors: CheckpointError, as checkpoint.save"""
    training, (epoch, batch) = job.training, job.position
    save(
        saving.checkpoint,
        job.mesh,
        training.model,
        training.optimizer,
        training.schedule,
        step=training.steps,
        epoch=epoch,
        batch=batch,
        extra={"data": _data(job.options)},
        keep=saving.keep,
    )


def resume_job(job: Job, saving: Saving) -> str:
    """Collective.   returns: the name of the checkpoint;   errors: CheckpointError, as checkpoint.load"""
    training = job.training
    resumed = load(saving.checkpoint, job.mesh, training.model, training.optimizer, training.schedule)
    job.go_on(resumed.step, resumed.epoch, resumed.batch)
    return resumed.path.name


def _check_progress(stored: Stored, options: Options, length: int) -> None:
    progress, mine = stored.manifest, _data(options)
    there = progress["extra"].get("data", {})
    for name in mine:  # which samples come when
        if name in there and there[name] != mine[name]:
            raise CheckpointError(
                f"{stored.path} was trained with --{name} {there[name]}, and this is --{name} {mine[name]}; "
                "give the same to go on with the samples that follow"
            )
    if progress["step"] >= length:
        raise CheckpointError(
            f"{stored.path} has {progress['step']} steps, and the training ends after {length}; "
            "give more --steps or --epochs"
        )


def _data(options: Options) -> dict[str, Any]:
    return {"data": options.source, "batch": options.batch, "seed": options.seed}
