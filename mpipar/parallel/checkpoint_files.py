"""Checkpoints on the disk: folders that are there whole or not at all.

    runs/mine/step-000100/               the last but one
    runs/mine/step-000120/
        checkpoint.json                  which file has which box of which tensor, and what is no tensor
        rank-0000.safetensors            what rank 0 wrote
        rank-0001.safetensors
    runs/mine/.step-000140.writing/      being written, or left behind by a crash

A checkpoint is written beside its place, forced to the disk (fsync), checkpoint.json last, and then
renamed. Where a step is saved again, the old folder steps aside as step-000120.old, and counts until
the new one is in place. So after a crash at any moment the last checkpoint that was complete is found.
"""

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from mpipar.errors import CheckpointError

MANIFEST = "checkpoint.json"
FORMAT, VERSION = "mpipar checkpoint", 1
NAME = re.compile(r"step-(\d+)(\.old)?")
ROOM = "make room, or choose another folder"
RIGHTS = "choose a folder that you may write and read"
REMEDIES = {
    errno.ENOSPC: ROOM,
    errno.EDQUOT: ROOM,
    errno.EFBIG: ROOM,
    errno.EACCES: RIGHTS,
    errno.EPERM: RIGHTS,
    errno.EROFS: RIGHTS,
    errno.EEXIST: "it is a file; choose a folder",
    errno.ENOTDIR: "it is a file; choose a folder",
    errno.ENOENT: "is it complete, and on a file system that all ranks see?",
}


def prepare(folder: Path, step: int) -> Path:
    """A new folder to write the checkpoint of this step into.   errors: CheckpointError"""
    with told("cannot write", folder):
        folder.mkdir(parents=True, exist_ok=True)
        later = max(_complete(folder), default=step)
        if later > step:
            raise CheckpointError(
                f"{folder} has a checkpoint of step {later}, which would be resumed instead of step {step}; "
                "choose another folder, or remove the later ones"
            )
        for left_behind in folder.glob(".step-*.writing"):
            shutil.rmtree(left_behind)
        written = writing(folder, step)
        written.mkdir()
    return written


def writing(folder: Path, step: int) -> Path:
    """Where the checkpoint of this step is while it is not complete."""
    return folder / f".step-{step:06}.writing"


def write_arrays(file: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """A safetensors file, on the disk for certain.   errors: CheckpointError"""
    with told("cannot write", file):
        file.touch()
        usual = file.stat().st_mode  # safetensors would let nobody else read it
        save_file(arrays, file, metadata)
        file.chmod(usual)
        _sync(file)


def finish(written: Path, manifest: dict[str, Any], keep: int) -> None:
    """Put the checkpoint in its place, and remove those before the last `keep`.   errors: CheckpointError"""
    final = written.parent / written.name.removeprefix(".").removesuffix(".writing")
    old = final.with_name(final.name + ".old")
    files = {part[0] for tensor in manifest["tensors"].values() for part in tensor["parts"]}
    with told("cannot write", written):
        sizes = {name: (written / name).stat().st_size for name in sorted(files)}
        text = json.dumps({"format": FORMAT, "version": VERSION, **manifest, "files": sizes}, default=float)
        (written / MANIFEST).write_text(text, encoding="utf-8")
        _sync(written / MANIFEST)
        _sync(written)
        if final.exists():
            remove(old)
            os.rename(final, old)
        os.rename(written, final)
        _sync(final.parent)
        kept = [path for _, path in sorted(_complete(final.parent).items())][-keep:]
        for path in final.parent.iterdir():
            if path not in kept and NAME.fullmatch(path.name):
                remove(path)


def move(written: Path, file: Path) -> None:
    """Give a file that is complete its name, in place of an older one.   errors: CheckpointError"""
    with told("cannot write", file):
        os.replace(written, file)
        _sync(file.parent)


def remove(folder: Path) -> None:
    """Its manifest first: without it, half a folder is no checkpoint.   What cannot be removed stays."""
    with suppress(OSError):
        (folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder)


def _sync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":  # cannot be opened there
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def latest(folder: str | Path) -> Path | None:
    """The last complete checkpoint in the folder; None where there is none.   errors: CheckpointError"""
    folder = Path(folder)
    with told("cannot read", folder):
        found = _complete(folder)
    return found[max(found)] if found else None


def find(path: str | Path, plain: bool = False) -> Path:
    """A checkpoint's own folder, or the last one in this folder.   plain: a file is itself what was meant

    errors: CheckpointError for none
    """
    path = Path(path)
    if plain and path.is_file():
        return path
    with told("cannot read", path):
        found = path if (path / MANIFEST).exists() else latest(path)
    if found is None:
        raise CheckpointError(
            f"{path} has no checkpoint (no folder step-… with a {MANIFEST}); name the folder saved into"
        )
    return found


def _complete(folder: Path) -> dict[int, Path]:
    """Step -> folder, of the checkpoints that are whole; one that steps aside only where no new one is."""
    if not folder.exists():
        return {}
    found = sorted((p for p in folder.iterdir() if NAME.fullmatch(p.name)), reverse=True)  # .old first
    return {int(NAME.fullmatch(p.name)[1]): p for p in found if (p / MANIFEST).exists()}


@contextmanager
def told(what: str, path: Path) -> Iterator[None]:
    """Raise what the file system and safetensors say as one CheckpointError sentence."""
    try:
        yield
    except SafetensorError as error:
        code = re.search(r"os error (\d+)", str(error))  # safetensors hands on words only
        if code is None:
            raise CheckpointError(
                f"{what} {path}: {error}; give a safetensors file, and of numbers that NumPy has"
            ) from error
        raise CheckpointError(_sentence(what, path, int(code[1]))) from error
    except OSError as error:
        raise CheckpointError(_sentence(what, path, error.errno)) from error


def _sentence(what: str, path: Path, code: int | None) -> str:
    cause = os.strerror(code) if code else "input or output failed"
    return f"{what} {path}: {cause}; {REMEDIES.get(code, 'is the disk in order?')}"
