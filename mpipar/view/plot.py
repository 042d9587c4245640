"""A drawing as PDF or PNG, by matplotlib (the extra `plots`): the same shapes at the same places."""

import io

from mpipar.errors import OptionError
from mpipar.view.shapes import Arrow, Drawing, Line, Rect, Text

DPI = 100  # a pixel of the drawing is 1/100 inch
SHARPNESS = 2  # pixels of a PNG a pixel of the drawing
SIDES = {"start": "left", "middle": "center", "end": "right"}


def plot(drawing: Drawing, kind: str) -> bytes:
    """The file's content.   kind: pdf or png;   errors: OptionError where matplotlib is not installed"""
    try:
        from matplotlib.figure import Figure
        from matplotlib.patches import Polygon, Rectangle
    except ImportError:
        raise OptionError(
            f"a {kind} is drawn by matplotlib, which is not installed; pip install 'mpipar[plots]', "
            "or name a file.svg, which needs nothing"
        ) from None
    figure = Figure((drawing.width / DPI, drawing.height / DPI), DPI, facecolor=drawing.background)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, drawing.width)
    axes.set_ylim(drawing.height, 0)
    axes.axis("off")
    point = 72 / DPI
    for order, shape in enumerate(drawing.shapes):
        if isinstance(shape, Rect):
            place = (shape.x, shape.y), shape.width, shape.height
            edge = {"edgecolor": shape.stroke, "linewidth": 2 * point} if shape.stroke else {"linewidth": 0}
            axes.add_patch(Rectangle(*place, facecolor=shape.fill, zorder=order, **edge))
        elif isinstance(shape, (Line, Arrow)):
            x, y, width = (shape.x1, shape.x2), (shape.y1, shape.y2), shape.width * point
            axes.plot(x, y, color=shape.color, linewidth=width, zorder=order)
            if isinstance(shape, Arrow):
                axes.add_patch(Polygon(shape.head(), facecolor=shape.color, linewidth=0, zorder=order))
        elif isinstance(shape, Text):
            style = {"color": shape.color, "fontsize": shape.size * point, "ha": SIDES[shape.anchor]}
            style["weight"] = "bold" if shape.bold else "normal"
            axes.text(shape.x, shape.y, shape.text, va="baseline", parse_math=False, zorder=order, **style)
    content = io.BytesIO()
    figure.savefig(content, format=kind, dpi=DPI * SHARPNESS, facecolor=drawing.background)
    return content.getvalue()
