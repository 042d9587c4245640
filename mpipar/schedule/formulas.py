"""The schedules' closed form of idle time: what a drawing can be compared with.

P ranks, m micro-batches, v stages a rank; each action of a rank's share takes one step (of a stage:
1/v), a fused backward one or two, latency 0. See each schedule's file for where they come from.
"""


def bubble_rate(name: str, ranks: int, micros: int, virtual: int = 1) -> float:
    """Idle part of the cost; see timing.Timeline.bubble_rate."""
    if name in ("zb-h1", "zb-h2"):
        idle = max(ranks - 1 if name == "zb-h1" else 0, 2 * ranks - 1 - micros)
        return idle / (3 * micros + idle)
    idle = micros * (ranks - 1) if name == "naive" else (ranks - 1) / virtual
    return idle / (micros + idle)
