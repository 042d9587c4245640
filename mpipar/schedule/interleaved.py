"""Interleaved 1F1B: v stages a rank (Narayanan et al., SC 2021).

The model is cut into P v stages, and stage k runs on rank k mod P, so each micro-batch visits a rank
v times and the pipeline fills v times as fast. P ranks, m micro-batches, T = TF + TB + TW of a rank's
whole share of the model:

    time        (m + (P-1)/v) T     bubble rate   (P-1)/(v m + P-1)
    memory      min(2(P-1-r) + (v-1)P + 1, m v) activations on rank r, each of 1/v of its layers
    messages    v times as many as 1F1B

Micro-batches go in groups of P: P of them through a rank's first stage, the same P through its
second, and so on; backwards from the last stage to the first. So m must be a multiple of P.
"""

from mpipar.errors import LayoutError
from mpipar.schedule.actions import Action
from mpipar.schedule.one_f_one_b import one_f_one_b


def interleaved(rank: int, ranks: int, micros: int, virtual: int) -> list[Action]:
    """Rank 0 of 2, 2 micro-batches, v=2: 0F0 0F1 2F0 2F1 2B0 2B1 0B0 0B1;   v=1: 1F1B

    errors: LayoutError where micros is no multiple of ranks
    """
    if virtual == 1:
        return one_f_one_b(rank, ranks, micros)
    if micros % ranks:
        raise LayoutError(
            f"interleaved: {micros} micro-batches do not divide into groups of {ranks} ranks; "
            f"use {micros + ranks - micros % ranks} or another multiple of {ranks}"
        )
    F, B = [], []
    for k in range(micros * virtual):
        turn, micro = k // ranks % virtual, k // (ranks * virtual) * ranks + k % ranks
        F.append(Action(turn * ranks + rank, "F", micro))
        B.append(Action((virtual - 1 - turn) * ranks + rank, "B", micro))
    warm = min(2 * (ranks - 1 - rank) + (virtual - 1) * ranks, len(F))
    steady = [action for pair in zip(F[warm:], B, strict=False) for action in pair]
    return F[:warm] + steady + B[len(F) - warm :]
