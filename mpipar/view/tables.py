"""How tables and sentences about a trace are printed."""

import textwrap
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

# text of the user's: no numbers or brackets picked out, and a path on one line however long
AS_IT_IS: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False, "soft_wrap": True}


def table_of(title: str, *columns: str, left: tuple[str, ...] = ()) -> Table:
    """An empty table: the columns named in `left` hold text, which may be folded, the others numbers."""
    table = Table(
        title=title,
        title_justify="left",
        box=SIMPLE_HEAD,
        header_style="bold",
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,  # the longest names leave no room to spare
    )
    for column in columns:
        if column in left:
            table.add_column(column, overflow="fold")
        else:
            table.add_column(column, justify="right", no_wrap=True)
    return table


def wrapped(text: str, width: int, indent: str = "") -> str:
    """Lines of this width, the later ones indented; a number and its % stay on one line."""
    kept = text.replace(" %", "\u00a0%")
    lines = textwrap.wrap(
        kept, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(lines).replace("\u00a0", " ")
