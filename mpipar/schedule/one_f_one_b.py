"""1F1B: after a warm-up, one forward and one backward in turn (PipeDream-Flush, Narayanan et al., ICML 2021).

A backward frees an activation, so it runs as soon as its gradient can be there. P stages, m
micro-batches, T = TF + TB + TW:

    time        (m + P-1) T    bubble rate   (P-1)/(m + P-1), as GPipe: 2m + 2(P-1) unit steps
    memory      min(P-s, m) activations on stage s, so at most P however large m
"""

from mpipar.schedule.actions import Action


def one_f_one_b(stage: int, stages: int, micros: int) -> list[Action]:
    """Stage 0 of 3, 4 micro-batches: F0 F1 F2 B0 F3 B1 B2 B3"""
    F, B = ([Action(stage, kind, micro) for micro in range(micros)] for kind in "FB")
    warm = min(stages - 1 - stage, micros)  # forwards before the first pair
    steady = [action for pair in zip(F[warm:], B, strict=False) for action in pair]
    return F[:warm] + steady + B[micros - warm :]
