"""Files that a user asked for."""

from pathlib import Path

from mpipar.errors import TraceError


def write_file(file: str | Path, content: bytes) -> None:
    """errors: TraceError where it cannot be written, as in a folder that is not there"""
    try:
        Path(file).write_bytes(content)
    except OSError as error:
        reason = f"cannot write {file} ({error.strerror})"
        raise TraceError(f"{reason}; name a file in a folder that is there") from None
