"""One micro-batch at a time: forward through all stages, then backward, and only then the next.

No two stages ever compute at once. P stages, m micro-batches, T = TF + TB + TW:

    time        m P T          bubble rate   (P-1)/P, however many micro-batches
    memory      1 activation a stage
"""

from mpipar.schedule.actions import Action


def naive(stage: int, stages: int, micros: int) -> list[Action]:
    """F0 B0 F1 B1 …"""
    return [Action(stage, kind, micro) for micro in range(micros) for kind in "FB"]
