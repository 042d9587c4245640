"""What a figure is made of: rectangles, lines, arrows and texts on a canvas, in pixels from its top left."""

import textwrap
from typing import NamedTuple

from mpipar.errors import OptionError

# Okabe & Ito, Color Universal Design (2008): told apart also by people who do not see red or green
ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILLION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#999999"
# px; large enough for the last row of a classroom where 1280 px fill the screen
FONT, TITLE, SMALL = 16, 18, 14
NARROWEST = 640


class Theme(NamedTuple):
    """lines: colors of lines that stand out on the background"""

    background: str
    ink: str
    faint: str
    lines: tuple[str, ...]


THEMES = {
    "light": Theme("#FFFFFF", "#1A1A1A", "#CFCFCF", (BLUE, VERMILLION, GREEN, PURPLE, ORANGE)),
    "dark": Theme("#14171C", "#F2F2F2", "#4A4F57", (SKY, ORANGE, GREEN, PURPLE, YELLOW)),
}


class Rect(NamedTuple):
    x: float
    y: float
    width: float
    height: float
    fill: str
    stroke: str = ""
    title: str = ""  # shown where the pointer rests


class Line(NamedTuple):
    x1: float
    y1: float
    x2: float
    y2: float
    color: str
    width: float = 1.0


class Arrow(NamedTuple):
    """A line with a head at (x2, y2)."""

    x1: float
    y1: float
    x2: float
    y2: float
    color: str
    width: float = 1.5
    title: str = ""

    def head(self) -> list[tuple[float, float]]:
        """The corners of a triangle, its point first."""
        dx, dy = self.x2 - self.x1, self.y2 - self.y1
        length = (dx * dx + dy * dy) ** 0.5 or 1.0
        ux, uy, long, half = dx / length, dy / length, min(10.0, length), 4.0
        x, y = self.x2 - long * ux, self.y2 - long * uy
        return [(self.x2, self.y2), (x - half * uy, y + half * ux), (x + half * uy, y - half * ux)]


class Text(NamedTuple):
    """anchor: start, middle or end;   y: of the baseline"""

    x: float
    y: float
    text: str
    color: str
    size: int = FONT
    anchor: str = "start"
    bold: bool = False

    def extent(self) -> tuple[float, float]:
        """Left and right edge, about."""
        width = text_width(self.text, self.size)
        left = self.x - {"start": 0.0, "middle": width / 2, "end": width}[self.anchor]
        return left, left + width


Shape = Rect | Line | Arrow | Text


class Drawing(NamedTuple):
    """Shapes in the order in which they are painted."""

    width: float
    height: float
    background: str
    shapes: list[Shape]


def text_width(text: str, size: int = FONT) -> float:
    """About how wide a text is, rather too wide than too narrow, since fonts differ."""
    return 0.6 * size * len(text)


def shortened(text: str, width: float, size: int = FONT) -> str:
    """The end of a text that is too wide, since paths differ in their last parts."""
    room = max(int(width / text_width("x", size)), 1)
    return text if len(text) <= room else "…" + text[len(text) - room + 1 :]


def lines_of(text: str, width: float, size: int = FONT) -> list[str]:
    """A text broken into lines of this width; none where it is empty."""
    return textwrap.wrap(text, int(width / text_width("x", size)))


def add_legend(
    shapes: list[Shape], entries: dict[str, str], place: tuple[float, float, float], theme: Theme
) -> float:
    """Boxes of these colors with their names, in as many lines as they need.   returns: where they end

    place: left, top, right
    """
    left, y, right = place
    x, box = left, 18
    for name, color in entries.items():
        text = shortened(name, min(420, right - left - box - 8))
        needed = box + 8 + text_width(text)
        if x + needed > right and x > left:
            x, y = left, y + 28
        shapes += [Rect(x, y, box, box, color), Text(x + box + 8, y + 15, text, theme.ink)]
        x += needed + 24
    return y + box + 4


def theme_of(name: str) -> Theme:
    """errors: OptionError for a name that is none"""
    if name not in THEMES:
        raise OptionError(f"there is no theme {name!r}; choose from {', '.join(THEMES)}")
    return THEMES[name]


def ink_on(fill: str) -> str:
    """Black or white, whichever stands out on a fill #RRGGBB (relative luminance of WCAG 2)."""
    red, green, blue = (int(fill[k : k + 2], 16) / 255 for k in (1, 3, 5))
    return "#000000" if 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2 > 0.18 else "#FFFFFF"


def mixed(low: str, high: str, share: float) -> str:
    """The color so far from low to high."""
    parts = ((int(low[k : k + 2], 16), int(high[k : k + 2], 16)) for k in (1, 3, 5))
    return "#" + "".join(f"{round(a + (b - a) * share):02X}" for a, b in parts)
