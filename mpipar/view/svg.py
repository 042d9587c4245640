"""A drawing as SVG: one file that any browser or slide program shows, without a library."""

import re
from collections.abc import Iterator
from html import escape

from mpipar.view.shapes import Arrow, Drawing, Line, Rect, Shape

FONTS = "system-ui, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans', sans-serif"
SHARP = 'shape-rendering="crispEdges"'  # no seams between boxes side by side
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # by XML 1.0, even escaped


def svg(drawing: Drawing) -> str:
    """The whole file."""
    width, height = f"{drawing.width:g}", f"{drawing.height:g}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="{FONTS}">',
        f'<rect width="{width}" height="{height}" fill="{drawing.background}"/>',
    ]
    for shape in drawing.shapes:
        lines += _element(shape)
    return "\n".join([*lines, "</svg>", ""])


def _element(shape: Shape) -> Iterator[str]:
    if isinstance(shape, Rect):
        x, y, width, height = map(_number, shape[:4])
        stroke = f' stroke="{shape.stroke}" stroke-width="2"' if shape.stroke else ""
        place = f'x="{x}" y="{y}" width="{width}" height="{height}"'
        yield f'<rect {place} fill="{shape.fill}"{stroke} {SHARP}>{_title(shape.title)}</rect>'
    elif isinstance(shape, Line):
        yield _line(shape)
    elif isinstance(shape, Arrow):
        corners = " ".join(f"{_number(x)},{_number(y)}" for x, y in shape.head())
        yield f'<g class="arrow">{_title(shape.title)}{_line(shape)}'
        yield f'<polygon points="{corners}" fill="{shape.color}"/></g>'
    else:
        weight = ' font-weight="bold"' if shape.bold else ""
        place = f'x="{_number(shape.x)}" y="{_number(shape.y)}" font-size="{shape.size}"'
        style = f'fill="{shape.color}" text-anchor="{shape.anchor}"{weight}'
        yield f"<text {place} {style}>{_escaped(shape.text)}</text>"


def _line(shape: Line | Arrow) -> str:
    x1, y1, x2, y2 = map(_number, shape[:4])
    place = f'x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"'
    return f'<line {place} stroke="{shape.color}" stroke-width="{shape.width:g}"/>'


def _title(text: str) -> str:
    return f"<title>{_escaped(text)}</title>" if text else ""


def _escaped(text: str) -> str:
    return escape(FORBIDDEN.sub("\ufffd", text))


def _number(x: float) -> str:
    """Hundredths of a pixel are enough."""
    return f"{x:.2f}".rstrip("0").rstrip(".")
