"""The folder of a trace, made before any rank writes into it."""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from mpipar.errors import TraceError
from mpipar.trace.event import FORMAT


def prepare_folder(folder: str | Path, meta: dict[str, Any]) -> None:
    """Make an empty trace folder with its meta.json; an earlier trace there is replaced.

    errors: TraceError where the folder holds anything that is not a trace, so that a wrong
    path never deletes a user's files.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise TraceError(f"trace folder {folder} is a file; name another folder")
    if folder.is_dir() and any(folder.iterdir()):
        foreign = [f.name for f in folder.iterdir() if not _belongs_to_trace(f.name)]
        if foreign or not (folder / "meta.json").exists():
            name = foreign[0] if foreign else "no meta.json"
            raise TraceError(f"{folder} is no trace folder (it holds {name}); name an empty or new folder")
        shutil.rmtree(folder)
    meta = {"format": FORMAT, "program": sys.argv, "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **meta}
    meta = {key: value for key, value in meta.items() if value is not None}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise TraceError(
            f"trace folder {folder} cannot be written ({error.strerror}); name another, or none: --trace 0"
        ) from None


def _belongs_to_trace(name: str) -> bool:
    return name == "meta.json" or (name.startswith("rank-") and name.endswith(".jsonl"))
