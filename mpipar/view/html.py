"""`mpipar trace html`: a run as one HTML file that needs nothing else: no network, no server, no library.

The page is viewer/page.html with its style and scripts put in as they are, and the trace as JSON
(page_data.py). Nothing of a trace is ever HTML: texts are set as text by the scripts, in JSON every `<` is
escaped, and the page's own policy lets the browser run only the scripts and styles of this package, by
their hashes, and fetch nothing.
"""

import json
import re
from base64 import b64encode
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any

from mpipar.trace import Trace
from mpipar.view.files import write_file
from mpipar.view.page_data import page_data

VIEWER = Path(__file__).parent / "viewer"
# in the order in which each uses only what stands before it
SCRIPTS = (
    "text data theme view lanes timeline arrows path strips legend details why search matrix places drawing "
    "replay mouse keys main"
).split()


def write_html(trace: Trace, file: str | Path) -> int:
    """Write the page of a trace.   returns: its bytes

    errors: TraceError where the file cannot be written
    """
    content = page(trace).encode("utf-8", "replace")  # a folder may have a name that is no text
    write_file(file, content)
    return len(content)


def page(trace: Trace) -> str:
    """The whole page as text."""
    scripts = [_read(f"{name}.js") for name in SCRIPTS]
    style = _read("style.css")
    sources = " ".join(_hash(script) for script in scripts)
    parts = {
        "policy": f"default-src 'none'; script-src {sources}; style-src {_hash(style)}; base-uri 'none'; "
        "form-action 'none'",
        "title": escape(f"{trace.folder.name} · mpipar"),
        "style": style,
        "data": as_json(page_data(trace)),
        "scripts": "\n".join(f"<script>{script}</script>" for script in scripts),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _read("page.html"))


def as_json(data: dict[str, Any]) -> str:
    """JSON in ASCII, which ends no script element whatever the texts in it are."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", r"\u003c")


def _hash(text: str) -> str:
    """As a content security policy names what may run."""
    return f"'sha256-{b64encode(sha256(text.encode('utf-8')).digest()).decode('ascii')}'"


def _read(name: str) -> str:
    return (VIEWER / name).read_text(encoding="utf-8")
