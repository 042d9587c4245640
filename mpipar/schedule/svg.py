"""A schedule as an SVG picture: a row a rank, a box an action as wide as it is long."""

from html import escape

from mpipar.schedule.actions import Schedule
from mpipar.schedule.draw import label
from mpipar.schedule.timing import Times, timeline, unit_times

COLOURS = {"F": "#9ec9f5", "B": "#8fd6a4", "I": "#8fd6a4", "W": "#f5cf8e"}
NAMES = {"F": "forward", "B": "backward", "I": "backward: dx", "W": "backward: dw"}
LEFT, TOP, HIGH = 64, 40, 26  # pixels
STEP = 30  # of the shortest action, where the picture does not get wider than:
WIDEST = 2400


def draw_svg(schedule: Schedule, times: Times | None = None) -> str:
    """The picture as the text of an SVG file; a box tells its action and its times when pointed at.

    errors: ScheduleError for a schedule that `check` refuses
    """
    times = unit_times(schedule) if times is None else Times(*times)
    line = timeline(schedule, times)
    shortest = min(span.end - span.start for row in line.rows for span in row if span.end > span.start)
    scale = min(STEP / shortest, WIDEST / line.makespan)
    idle = f'width="{line.makespan * scale:.2f}" height="{HIGH - 2}" fill="#eeeeee"'
    title = (
        f"{schedule.name}: {schedule.ranks} ranks, {schedule.micros} micro-batches, "
        f"cost {line.cost:.6g}, bubble rate {line.bubble_rate:.4f}"
    )
    width = max(LEFT + line.makespan * scale + 12, 7 * len(title))
    height = TOP + HIGH * schedule.ranks + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif" font-size="12">',
        f'<rect width="100%" height="100%" fill="white"/><text x="8" y="22">{escape(title)}</text>',
    ]
    for rank, row in enumerate(line.rows):
        y = TOP + HIGH * rank
        parts.append(f'<text x="8" y="{y + 17}">rank {rank}</text>')
        parts.append(f'<rect x="{LEFT}" y="{y}" {idle}/>')
        for action, start, end in row:
            x, wide, name = LEFT + start * scale, (end - start) * scale, label(schedule, rank, action)
            text = f'<text x="{x + wide / 2:.2f}" y="{y + 17}" text-anchor="middle">{name}</text>'
            parts.append(
                f'<g><title>{action}: {start:.6g} to {end:.6g}</title><rect x="{x:.2f}" y="{y}" '
                f'width="{wide:.2f}" height="{HIGH - 2}" fill="{COLOURS[action.kind]}" stroke="white"/>'
                f"{text if wide > 7 * len(name) else ''}</g>"
            )
    return "\n".join([*parts, *_legend(schedule, height), "</svg>", ""])


def _legend(schedule: Schedule, height: float) -> list[str]:
    kinds = [kind for kind in NAMES if any(action.kind == kind for action in schedule)]
    return [
        f'<rect x="{LEFT + 130 * k}" y="{height - 24:.0f}" width="14" height="14" fill="{COLOURS[kind]}"/>'
        f'<text x="{LEFT + 130 * k + 20}" y="{height - 13:.0f}">{kind}: {NAMES[kind]}</text>'
        for k, kind in enumerate(kinds)
    ]
