"""GPipe: all forwards, then all backwards (Huang et al., NeurIPS 2019).

Stage s waits s steps for its first input, and as long at the end for its last gradient. P stages,
m micro-batches, T = TF + TB + TW:

    time        (m + P-1) T    bubble rate   (P-1)/(m + P-1)
    memory      m activations a stage

The paper runs the backwards in reverse. Here they run in the order of the micro-batches, which takes
as long, so that all schedules add up a gradient's parts in the same order and end bitwise equal.
"""

from mpipar.schedule.actions import Action


def gpipe(stage: int, stages: int, micros: int) -> list[Action]:
    """F0 F1 … B0 B1 …"""
    return [Action(stage, kind, micro) for kind in "FB" for micro in range(micros)]
