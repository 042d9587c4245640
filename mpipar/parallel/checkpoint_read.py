"""Reading a checkpoint: any box of any tensor, whichever ranks wrote it.

    rank 0 wrote   ((0, 4), (0, 8))                           wanted   ((2, 6), (0, 8))
    rank 1 wrote   ((4, 8), (0, 8))                           read     2 rows of each

So what four tensor-parallel ranks wrote, two data-parallel ones or a serial program read, and of a
file no more than is wanted.
"""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from mpipar.errors import CheckpointError
from mpipar.parallel.boxes import Box, Index, extents, inside, meet, whole_box
from mpipar.parallel.checkpoint_files import FORMAT, MANIFEST, VERSION, told


class Stored:
    """The tensors of a checkpoint's folder, or of one plain safetensors file such as PyTorch's users save.

    manifest: what checkpoint.json says, see checkpoint.py; of a plain file the tensors alone
    tensors: name -> {"shape", "parts": [[file, name in the file, box, crc32 or None], …]}
    aliases: another name of a tied parameter -> the one that it is stored under
    errors: CheckpointError for what is no checkpoint, of a newer version, or incomplete
    """

    def __init__(self, path: Path) -> None:
        self.path, self._open = path, {}
        plain = path.is_file()
        self.folder = path.parent if plain else path
        self.manifest = {"tensors": self._plain(path)} if plain else _manifest(path)
        self.tensors: dict[str, Any] = self.manifest["tensors"]
        self.aliases: dict[str, str] = self.manifest.get("aliases", {})

    @property
    def weights(self) -> list[str]:
        """The parameters' names; the other tensors are what the optimizer remembers of them."""
        return [name for name in self.tensors if "/" not in name]

    def name_of(self, name: str) -> str:
        """Under which name the parameter of this name is stored, where it is tied to another."""
        return name if name in self.tensors else self.aliases.get(name, name)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.tensors[name]["shape"])

    def read(self, name: str, box: Box | None = None) -> np.ndarray:
        """The numbers in the box, by default all.   cost: reads those; all of a stored part are checked

        errors: CheckpointError for damaged files
        """
        box = whole_box(self.shape(name)) if box is None else box
        found = []
        for file, key, ranges, crc in self.tensors[name]["parts"]:
            stored = tuple(map(tuple, ranges))
            common = box if stored == box else meet(stored, box)
            if common is not None:
                found.append((common, self._take(file, key, inside(common, stored), common == stored, crc)))
        if len(found) == 1 and found[0][0] == box:
            return found[0][1]
        out = np.empty(extents(box), found[0][1].dtype)
        for common, values in found:
            out[inside(common, box)] = values
        return out

    def _take(self, file: str, key: str, index: Index, whole: bool, crc: int | None) -> np.ndarray:
        path = self.folder / file
        with told("cannot read", path):
            if file not in self._open:
                self._open[file] = safe_open(path, framework="np")
            stored = self._open[file]
            values = stored.get_tensor(key) if whole else stored.get_slice(key)[index]
        if whole and crc is not None and _crc(values) != crc:
            raise CheckpointError(
                f"{path} is damaged: the numbers of {key} have changed; use another checkpoint"
            )
        return values

    def _plain(self, path: Path) -> dict[str, Any]:
        with told("cannot read", path):
            stored = self._open[path.name] = safe_open(path, framework="np")
            shapes = {name: stored.get_slice(name).get_shape() for name in stored.keys()}  # noqa: SIM118
        return {
            name: {"shape": shape, "parts": [[path.name, name, whole_box(shape), None]]}
            for name, shape in shapes.items()
        }


def part_of(file: str, key: str, box: Box, values: np.ndarray) -> list[Any]:
    """A line of the manifest: `values`, which are the box, lie in the file under this key."""
    return [file, key, box, _crc(values)]


def _crc(values: np.ndarray) -> int:
    return zlib.crc32(np.asarray(values, order="C").reshape(-1).view(np.uint8))


def _manifest(folder: Path) -> dict[str, Any]:
    file = folder / MANIFEST
    with told("cannot read", file):
        text = file.read_bytes()
    try:
        manifest = json.loads(text)
        known = manifest["format"] == FORMAT and manifest.keys() >= {"files", "tensors"}
        version = manifest["version"]
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise CheckpointError(f"{file} was not written by mpipar; give a folder that mpipar saved into")
    if version > VERSION:
        raise CheckpointError(
            f"{folder} has format {version}, and this mpipar reads up to {VERSION}; update mpipar "
            f"(the checkpoint is of {manifest.get('mpipar')})"
        )
    for name, size in manifest["files"].items():
        _check_size(folder / name, size)
    return manifest


def _check_size(file: Path, size: int) -> None:
    with told("cannot read", file):
        there = file.stat().st_size
    if there != size:
        raise CheckpointError(
            f"{file} has {there} bytes, and {size} were saved: it is cut off or another file; "
            "copy it again, or use another checkpoint"
        )
