"""What each rank did over time: computing by scope, communication, waiting, and the messages as arrows."""

import math
from collections import Counter, defaultdict
from itertools import dropwhile, groupby, takewhile

from mpipar.errors import TraceError
from mpipar.trace import Event, RankTrace, Trace, pair_messages
from mpipar.view.shapes import (
    BLUE,
    FONT,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    SMALL,
    TITLE,
    VERMILLION,
    YELLOW,
    Arrow,
    Drawing,
    Line,
    Rect,
    Shape,
    Text,
    Theme,
    add_legend,
    lines_of,
    shortened,
    text_width,
)
from mpipar.view.timeline import COMMUNICATION, COMPUTE, WAITING, State, states
from mpipar.view.units import readable_bytes, readable_count, readable_path, readable_time

SCOPES = (GREEN, YELLOW, PURPLE, BLUE, ORANGE)  # of the scopes that took longest
OTHER = "other computing"
ARROWS = 160  # more cannot be told apart
MOST_TICKS = 50
LEFT, RIGHT, TOP, GAP = 96, 40, 44, 16

_Pair = tuple[int, Event, int, Event]  # sender, send, receiver, receive


class Scale:
    """Time to place.   start, end: ns; left, right: px"""

    def __init__(self, start: int, end: int, left: float, right: float) -> None:
        self.start, self.end, self.left, self.right = start, max(end, start + 1), left, right

    def __call__(self, ns: float) -> float:
        share = (ns - self.start) / (self.end - self.start)
        return self.left + min(max(share, 0.0), 1.0) * (self.right - self.left)

    def ticks(self) -> tuple[str, list[tuple[float, str]]]:
        """The unit, and (place, label) of round times since the start that do not crowd."""
        span, width = self.end - self.start, self.right - self.left
        factor, unit = next((f, u) for f, u in ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1, "ns")) if span >= f)
        length = span / factor
        distances = (m * 10.0**e for e in range(-3, 13) for m in (1, 2, 5))
        for distance in (d for d in distances if length / d < MOST_TICKS):
            labels = [f"{k * distance:g}" for k in range(math.floor(length / distance) + 1)]
            if width * distance / length > max(map(text_width, labels)) + 2 * FONT:
                break
        return unit, [(self(self.start + k * distance * factor), t) for k, t in enumerate(labels)]


def draw_timeline(trace: Trace, step: int | None, width: int, theme: Theme) -> Drawing:
    """errors: TraceError for a trace without events, or without the step"""
    start, end = _span(trace, step)
    scale = Scale(start, end, LEFT, width - RIGHT)
    shown = {rank: [s for s in own if s.end > start and s.start < end] for rank, own in states(trace).items()}
    depth, scopes = _scopes(shown)
    colors = dict(zip(scopes, SCOPES, strict=False)) | {OTHER: GREY, COMMUNICATION: SKY, WAITING: VERMILLION}
    what = f", step {step}" if step is not None else ""
    took = f"{readable_count(trace.size, 'rank')}{what}, {readable_time((end - start) / 1e9)}"
    title = f"{readable_path(trace.folder)}: {took}"
    shapes: list[Shape] = [
        Text(LEFT, 28, shortened(title, width - LEFT - RIGHT, TITLE), theme.ink, TITLE, bold=True)
    ]
    present = {_name(state, depth, scopes) for own in shown.values() for state in own}
    entries = {name: color for name, color in colors.items() if name in present}
    bottom = add_legend(shapes, entries, (LEFT, TOP, width - RIGHT), theme)
    row = min(max(480 / len(shown), 8), 60)
    rows = {rank: bottom + GAP + k * row for k, rank in enumerate(shown)}
    bar = 0.62 * row
    _axis(shapes, scale, bottom + GAP, bottom + GAP + row * len(rows), theme)
    every = math.ceil((SMALL + 4) / row)  # ranks that have room for their number
    for k, (rank, y) in enumerate(rows.items()):
        if k % every == 0:
            shapes.append(Text(LEFT - 12, y + bar / 2 + 0.35 * FONT, f"rank {rank}", theme.ink, FONT, "end"))
        for x, x_end, name, told in _boxes(shown[rank], scale, depth, scopes):
            shapes.append(Rect(x, y, x_end - x, bar, colors[name], title=told))
    note = _arrows(shapes, trace, scale, rows, bar, theme)
    height = bottom + GAP + row * len(rows) + 60
    for line in lines_of(note, width - LEFT - RIGHT, SMALL):
        height += 20
        shapes.append(Text(LEFT, height, line, theme.ink, SMALL))
    return Drawing(width, height + 12, theme.background, shapes)


def _span(trace: Trace, step: int | None) -> tuple[int, int]:
    """From the first event that is to be seen to the end of the last."""
    events = [e for of in trace.ranks.values() for e in (of.events if step is None else _of_step(of, step))]
    if events:
        return min(event.start for event in events), max(event.end for event in events)
    known = sorted({event.step for _, event in trace.events()} - {-1})
    if step is None:
        raise TraceError(f"{trace.folder} holds no events, so there is nothing to draw; record the run again")
    if not known:
        raise TraceError(f"{trace.folder} tells no steps; give a scope its step: world.scope(name, step)")
    raise TraceError(f"{trace.folder} holds no step {step}; its steps are {known[0]} … {known[-1]}")


def _of_step(of: RankTrace, step: int) -> list[Event]:
    """The rank's events of the first step with this number; a second training counts anew."""
    numbered = (event for event in of.events if event.step >= 0)
    from_there = dropwhile(lambda event: event.step != step, numbered)
    return list(takewhile(lambda event: event.step == step, from_there))


def _scopes(shown: dict[int, list[State]]) -> tuple[int, list[str]]:
    """How deep paths of scopes are told apart, as deep as colors allow, and those that took longest."""
    total: Counter[str] = Counter()
    for own in shown.values():
        for state in own:
            if state.kind == COMPUTE:
                total[state.label] += state.length
    depth = max((label.count("/") + 1 for label in total), default=1)
    while depth > 1 and len({_cut(label, depth) for label in total} - {""}) > len(SCOPES):
        depth -= 1
    by_name: Counter[str] = Counter()
    for label, ns in total.items():
        by_name[_cut(label, depth)] += ns
    del by_name[""]
    return depth, [name for name, _ in by_name.most_common(len(SCOPES))]


def _cut(path: str, depth: int) -> str:
    return "/".join(path.split("/")[:depth])


def _name(state: State, depth: int, scopes: list[str]) -> str:
    """The entry of the legend that a state belongs to."""
    if state.kind != COMPUTE:
        return state.kind
    name = _cut(state.label, depth)
    return name if name in scopes else OTHER


def _boxes(own: list[State], scale: Scale, depth: int, scopes: list[str]):
    """(left, right, entry of the legend, what to say) of a rank's boxes.

    Where there are more states than pixels, a box a pixel: of what took most of it.
    """
    if len(own) <= scale.right - scale.left:
        for state in own:
            told = f"{state.label or state.kind}: {readable_time(state.length / 1e9)}"
            yield scale(state.start), scale(state.end), _name(state, depth, scopes), told
        return
    pixels: dict[int, Counter[str]] = defaultdict(Counter)
    for state in own:
        left, right = scale(state.start), scale(state.end)
        for pixel in range(int(left), math.ceil(right)):
            part = min(right, pixel + 1) - max(left, pixel)
            pixels[pixel][_name(state, depth, scopes)] += part
    most = [(pixel, counter.most_common(1)[0][0]) for pixel, counter in sorted(pixels.items())]
    for name, run in groupby(most, lambda pair: pair[1]):
        run = [pixel for pixel, _ in run]
        yield max(run[0], scale.left), min(run[-1] + 1, scale.right), name, name


def _axis(shapes: list[Shape], scale: Scale, top: float, bottom: float, theme: Theme) -> None:
    unit, ticks = scale.ticks()
    for x, label in ticks:
        shapes += [
            Line(x, top - 4, x, bottom + 4, theme.faint),
            Text(x, bottom + 22, label, theme.ink, FONT, "middle"),
        ]
    middle = (scale.left + scale.right) / 2
    shapes.append(Text(middle, bottom + 46, f"time in {unit}", theme.ink, FONT, "middle"))


def _arrows(
    shapes: list[Shape], trace: Trace, scale: Scale, rows: dict[int, float], bar: float, theme: Theme
) -> str:
    """Paint the messages that lie within the time shown.   returns: what was left out, or ''"""
    messages = [
        pair for pair in pair_messages(trace) if pair[1].start >= scale.start and pair[3].end <= scale.end
    ]
    chosen, cell = messages, 0.5
    while len(chosen) > ARROWS:
        cell *= 2
        chosen = _one_a_cell(messages, scale, rows, cell)
    for sender, sent, receiver, received in chosen:
        down = rows[receiver] > rows[sender]
        y1, y2 = rows[sender] + bar * down, rows[receiver] + bar * (not down)
        title = f"rank {sender} → {receiver}, {readable_bytes(sent.bytes)}, tag {sent.tag}, {sent.site}"
        shapes.append(Arrow(scale(sent.start), y1, scale(received.end), y2, theme.ink, 1.2, title))
    if len(chosen) == len(messages):
        return ""
    return (
        f"{len(chosen)} of {len(messages)} messages are drawn, the largest in every {cell:g} px; "
        "--step draws those of one step, --width more"
    )


def _one_a_cell(messages: list[_Pair], scale: Scale, rows: dict[int, float], cell: float) -> list[_Pair]:
    """The largest of the messages whose rows and beginnings lie in the same cells, squares of so many px."""
    largest: dict[tuple[int, int, int], _Pair] = {}
    for message in messages:
        sender, sent, receiver, _ = message
        key = (int(rows[sender] / cell), int(rows[receiver] / cell), int(scale(sent.start) / cell))
        if key not in largest or sent.bytes > largest[key][1].bytes:
            largest[key] = message
    return list(largest.values())
