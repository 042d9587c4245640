"""`mpipar trace figure`: a trace, or one collective of it, as a picture for slides and papers."""

from pathlib import Path

from mpipar.errors import OptionError, TraceError
from mpipar.trace import Trace
from mpipar.view.calls import call_list, find_call
from mpipar.view.contributions import replay
from mpipar.view.figure_collective import draw_collective
from mpipar.view.figure_timeline import draw_timeline
from mpipar.view.files import write_file
from mpipar.view.plot import plot
from mpipar.view.shapes import NARROWEST, Drawing, theme_of
from mpipar.view.svg import svg

WIDTH = 1280


def write_figure(
    trace: Trace,
    file: str | Path,
    collective: str | None = None,
    step: int | None = None,
    width: int = WIDTH,
    theme: str = "light",
) -> None:
    """Draw what all ranks did over time, or one collective hop by hop.

    file: .svg needs nothing, .pdf and .png need matplotlib
    collective: its number, or a name, as "allreduce": then the first such call
    step: only this training step;   width: px, the height follows;   theme: light or dark
    errors: OptionError for what cannot be drawn as asked, TraceError for what the trace does not hold
    """
    kind = Path(file).suffix.lower().removeprefix(".")
    if kind not in ("svg", "pdf", "png"):
        raise OptionError(f"{file} has no suffix that tells what to draw; name a file.svg, .pdf or .png")
    drawing = draw(trace, collective, step, width, theme)
    write_file(file, svg(drawing).encode() if kind == "svg" else plot(drawing, kind))


def draw(
    trace: Trace,
    collective: str | None = None,
    step: int | None = None,
    width: int = WIDTH,
    theme: str = "light",
) -> Drawing:
    """What write_figure writes."""
    if width < NARROWEST:
        raise OptionError(f"a figure {width} px wide has no room for its texts; give {NARROWEST} or more")
    colors = theme_of(theme)
    if collective is None:
        return draw_timeline(trace, step, width, colors)
    if step is not None:
        raise OptionError(f"step {step} and collective {collective} cannot both be drawn; give one of them")
    played = replay(trace, find_call(call_list(trace), collective).number)
    if not played.frames:
        reason = played.note or "it needs no messages"
        raise TraceError(f"{played.algorithm} {played.operation} #{played.number} cannot be drawn: {reason}")
    return draw_collective(played, width, colors)
