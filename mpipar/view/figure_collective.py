"""One collective hop by hop: above its messages in space and time, below what every rank holds.

Across run the logical steps (Lamport, CACM 21, 1978), down the ranks. An arrow is a message, with the
chunks that it carries. Under each step a grid of ranks by chunks tells whose contributions a chunk
holds then: the darker, the more of those it is to hold in the end; framed where the step changed it.
"""

import math
from itertools import pairwise

from mpipar.view.contributions import Frame, FrameHop, Replay
from mpipar.view.shapes import (
    BLUE,
    FONT,
    ORANGE,
    SKY,
    SMALL,
    TITLE,
    Arrow,
    Drawing,
    Line,
    Rect,
    Shape,
    Text,
    Theme,
    add_legend,
    ink_on,
    lines_of,
    mixed,
    shortened,
    text_width,
)
from mpipar.view.units import readable_bytes

LEFT, RIGHT, TOP = 96, 24, 44
NARROWEST_STEP, PLAIN_STEP = 96, 80  # px; with grids, without
CELL = 26  # px, where a cell has room for text
PLACES = (0.3, 0.12, 0.5, 0.65, 0.8, 0.2, 0.4)  # of an arrow, to put its label


def draw_collective(played: Replay, width: int, theme: Theme) -> Drawing:
    """As many steps from the first on as have room."""
    grids = bool(played.initial)
    narrowest = _narrowest(played) if grids else PLAIN_STEP
    fitting = max(int((width - LEFT - RIGHT) / narrowest) - 1, 1)
    frames = played.frames[:fitting]
    slot = (width - LEFT - RIGHT) / (len(frames) + 1)
    centers = [LEFT + (k + 0.5) * slot for k in range(len(frames) + 1)]
    row = min(max(340 / len(played.ranks), 10), 70)
    shapes: list[Shape] = []
    bottom = _head(shapes, played, width, theme) + 32
    bottom = _space_time(shapes, played, frames, centers, (bottom, row), theme)
    if grids:
        bottom = _grids(shapes, played, frames, centers, slot, bottom + 50, theme)
    for note in _notes(played, len(frames), narrowest):
        for line in lines_of(note, width - LEFT - RIGHT, SMALL):
            bottom += 22
            shapes.append(Text(LEFT, bottom, line, theme.ink, SMALL))
    return Drawing(width, bottom + 20, theme.background, shapes)


def _narrowest(played: Replay) -> float:
    """A step's width: a cell has room for two digits, while there are few chunks."""
    return max(NARROWEST_STEP, min(len(played.chunks), 12) * CELL + 16)


def _head(shapes: list[Shape], played: Replay, width: int, theme: Theme) -> float:
    """Title and legend.   returns: where they end"""
    size = f"{len(played.ranks)} ranks, {readable_bytes(played.bytes)} {played.dtype}".rstrip()
    title = f"#{played.number} {played.operation} {played.algorithm}: {size}, {played.site}"
    shapes.append(Text(LEFT, 28, shortened(title, width - LEFT - RIGHT, TITLE), theme.ink, TITLE, bold=True))
    entries = {name or "messages": color for name, color in _phases(played, theme).items()}
    return add_legend(shapes, entries, (LEFT, TOP, width - RIGHT), theme)


def _phases(played: Replay, theme: Theme) -> dict[str, str]:
    names = dict.fromkeys(hop.phase for frame in played.frames for hop in frame.hops)
    return {name: theme.lines[k % len(theme.lines)] for k, name in enumerate(names)}


def _space_time(
    shapes: list[Shape], played: Replay, frames: list[Frame], centers: list[float],
    down: tuple[float, float], theme: Theme,
) -> float:  # fmt: skip
    """down: the first rank's place, and the distance of two.   returns: where it ends"""
    top, row = down
    y_of = {rank: top + k * row for k, rank in enumerate(played.ranks)}
    colors = _phases(played, theme)
    last = y_of[played.ranks[-1]]
    _rank_names(shapes, list(y_of.items()), row, theme)
    shapes += [Line(centers[0], y, centers[-1], y, theme.faint, 2) for y in y_of.values()]
    for k, x in enumerate(centers):
        shapes.append(Line(x, top - 14, x, last + 14, theme.faint))
        shapes.append(Text(x, last + 34, f"step {k}" if k else "start", theme.ink, FONT, "middle"))
    for frame, x1, x2 in zip(frames, centers[:-1], centers[1:], strict=True):
        for hop in frame.hops:
            shapes.append(
                Arrow(x1 + 8, y_of[hop.sender], x2 - 8, y_of[hop.receiver], colors[hop.phase], 2, _told(hop))
            )
    if row >= 24:  # labels after all arrows, so that none is crossed out
        for frame, x1, x2 in zip(frames, centers[:-1], centers[1:], strict=True):
            _hop_labels(shapes, frame, (x1 + 8, x2 - 8), y_of, colors, theme)
    return last + 34


def _rank_names(shapes: list[Shape], places: list[tuple[int, float]], row: float, theme: Theme) -> None:
    """Those that have room, at the height of their rows."""
    for rank, y in places[:: math.ceil((SMALL + 4) / row)]:
        shapes.append(Text(LEFT - 24, y + 0.35 * FONT, f"rank {rank}", theme.ink, FONT, "end"))


def _hop_labels(
    shapes: list[Shape], frame: Frame, across: tuple[float, float], y_of: dict[int, float],
    colors: dict[str, str], theme: Theme,
) -> None:  # fmt: skip
    """The chunks that each message carries, on its arrow where no other label is."""
    placed: list[tuple[float, float, float]] = []
    for hop in frame.hops:
        label = _ranges([chunk for chunk, _ in hop.carries])
        if not label:
            continue
        half = text_width(label, SMALL) / 2 + 3
        (x1, x2), (y1, y2) = across, (y_of[hop.sender], y_of[hop.receiver])
        spots = [(x1 + share * (x2 - x1), y1 + share * (y2 - y1)) for share in PLACES]
        free = (
            s for s in spots if all(abs(s[0] - x) > half + h + 4 or abs(s[1] - y) > 22 for x, y, h in placed)
        )
        x, y = next(free, spots[0])
        placed.append((x, y, half))
        shapes += [
            Rect(x - half, y - 10, 2 * half, 20, theme.background, colors[hop.phase]),
            Text(x, y + 0.35 * SMALL, label, theme.ink, SMALL, "middle"),
        ]


def _told(hop: FrameHop) -> str:
    chunks = _ranges([chunk for chunk, _ in hop.carries])
    carries = f", chunk {chunks}" if chunks else ""
    return f"rank {hop.sender} → {hop.receiver}{carries}, {readable_bytes(hop.bytes)}, {hop.phase}"


def _ranges(numbers: list[int]) -> str:
    """[0, 1, 2, 4, 5] -> '0–2 4 5'"""
    runs: list[list[int]] = []
    for n in sorted(set(numbers)):
        if runs and runs[-1][1] == n - 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return " ".join(str(a) if a == b else f"{a}{'–' if b - a > 1 else ' '}{b}" for a, b in runs)


def _grids(
    shapes: list[Shape], played: Replay, frames: list[Frame], centers: list[float], slot: float, top: float,
    theme: Theme,
) -> float:  # fmt: skip
    """A grid under each step.   returns: where they end"""
    chunks, ranks = max(len(played.chunks), 1), played.ranks
    wide, high = (slot - 14) / chunks, min(max(300 / len(ranks), 6), 30)
    _rank_names(shapes, [(rank, top + (i + 0.5) * high) for i, rank in enumerate(ranks)], high, theme)
    before = played.initial
    for x, state in zip(centers, [played.initial, *(frame.state for frame in frames)], strict=True):
        left = x - wide * chunks / 2
        changed = []
        for i in range(len(ranks)):
            for c in range(chunks):
                cell = (left + c * wide, top + i * high, wide - 2, high - 2)
                box = _cell(played, i, c, state[i][c], cell, theme)
                shapes += box
                if state[i][c] != before[i][c]:
                    changed.append(box[0])
        shapes += [shape for box in changed for shape in _framed(box)]
        before = state
    bottom = top + high * len(ranks)
    for c in range(chunks):
        if wide >= text_width(str(chunks), SMALL):
            x = centers[0] + (c + 0.5 - chunks / 2) * wide
            shapes.append(Text(x - 1, bottom + 18, str(c), theme.ink, SMALL, "middle"))
    shapes.append(Text(LEFT - 24, bottom + 18, "chunk", theme.ink, SMALL, "end"))
    return bottom + 24


def _framed(box: Rect) -> list[Shape]:
    """Four lines around a cell, so that its text stays visible."""
    left, top, right, bottom = box.x, box.y, box.x + box.width, box.y + box.height
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    return [Line(*start, *end, ORANGE, 2) for start, end in pairwise(corners)]


def _cell(
    played: Replay,
    i: int,
    chunk: int,
    held: list[int],
    place: tuple[float, float, float, float],
    theme: Theme,
) -> list[Shape]:
    goal = played.goal[i][chunk] or played.ranks
    share = min(len(held) / max(len(goal), 1), 1.0)
    fill = mixed(theme.background, theme.faint, 0.35) if not held else mixed(SKY, BLUE, share)
    start, stop = played.chunks[chunk]
    whose = "nothing" if not held else f"from rank {_ranges(held)}"
    told = f"rank {played.ranks[i]}, chunk {chunk} (elements {start} … {stop - 1}): {whose}"
    x, y, width, height = place
    shapes: list[Shape] = [Rect(x, y, max(width, 0.5), max(height, 0.5), fill, title=told)]
    text = next((t for t in _spellings(held, played) if text_width(t, SMALL) + 4 <= width), "")
    if text and height >= SMALL:
        middle = (x + width / 2, y + height / 2 + 0.35 * SMALL)
        shapes.append(Text(*middle, text, ink_on(fill), SMALL, "middle"))
    return shapes


def _spellings(held: list[int], played: Replay) -> list[str]:
    """Whose contributions a chunk holds, at length, then shorter."""
    if not held:
        return []
    short = ["all"] if len(held) == len(played.ranks) > 1 else []
    digits = ["".join(map(str, held))] if max(played.ranks) < 10 else []
    return [_ranges(held), *digits, *short, f"{len(held)}×"]


def _notes(played: Replay, shown: int, narrowest: float) -> list[str]:
    notes = []
    if played.initial:
        notes.append(
            "a cell: from whom it holds contributions (4×: from 4 ranks); framed: changed by the step"
        )
    if shown < len(played.frames):
        needed = int((len(played.frames) + 1) * narrowest) + LEFT + RIGHT + 1
        notes.append(f"steps 1 … {shown} of {len(played.frames)} are drawn; --width {needed} shows all")
    return notes + ([played.note] if played.note else [])
