"""Where in the user's program a call was made."""

from pathlib import Path
from typing import Any

# by the code's id, because its hash is computed anew each time; the code is kept, so that no other has its id
_sites: dict[tuple[int, int], tuple[str, Any]] = {}


def site_of(filename: str, line: int) -> str:
    """file:line, the file relative to where the user stands or to the package."""
    return f"{_short_path(filename)}:{line}"


def call_site(frame: Any) -> str:
    """The line that a frame is at."""
    code = frame.f_code
    key = (id(code), frame.f_lasti)
    known = _sites.get(key)
    if known is None:
        known = _sites[key] = (site_of(code.co_filename, frame.f_lineno), code)
    return known[0]


def _short_path(filename: str) -> str:
    path = Path(filename)
    for root in (Path.cwd(), Path(__file__).parents[2]):
        if path.is_relative_to(root):
            path = path.relative_to(root)
            break
    return path.as_posix().encode("utf-8", "replace").decode()  # a name may hold what is no text
