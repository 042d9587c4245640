"""What a wrong tensor looks like, and which mistake makes it look so.

Each function in forward.py, backward.py, clipping.py and micro.py states one mistake, computes
what the tensor would be with it, and says so if that explains the difference: all but a
thousandth of it. `cause_of` asks them from the most special to the most general; a mistake counts
if it explains the tensor on all ranks that differ. Some questions send messages: all ranks ask in
the same order, and a question sends all of its messages before it looks at what it got, because
ranks may find different things.
"""

from collections.abc import Callable

import numpy as np

from mpipar.arrays import asarray, to_host
from mpipar.parallel.evidence.backward import (
    factor,
    multiple,
    not_summed,
    reduced_over_dp,
    rounding,
    stale,
    tied,
    unused,
)
from mpipar.parallel.evidence.case import Case, Said, block_of
from mpipar.parallel.evidence.clipping import local_norm, other_norm
from mpipar.parallel.evidence.forward import (
    bias_again,
    not_finite,
    other_mask,
    other_part,
    partial_sums,
    stale_weights,
)
from mpipar.parallel.evidence.micro import loss_scaled, micro_order, stale_activation

__all__ = ["UNKNOWN", "Case", "block_of", "cause_of"]

UNKNOWN = ("a wrong value", "it looks like none of the usual mistakes")
LONGEST = 400  # bytes of an explanation
QUESTIONS: tuple[tuple[Callable[[Case], Said], str], ...] = (
    (not_finite, "no numbers"),
    (micro_order, "micro-batch order"),
    (stale_activation, "a stale activation"),
    (loss_scaled, "a loss scaled twice"),
    (other_part, "a part in another order or place"),
    (other_mask, "another dropout mask"),
    (bias_again, "the bias"),
    (stale, "a stale value"),
    (stale_weights, "a stale weight"),
    (local_norm, "clipped by a local norm"),
    (other_norm, "another clipping"),
    (unused, "an unused parameter"),
    (factor, "a missing or needless 1/N"),
    (tied, "a tied gradient that is not summed"),
    (not_summed, "not reduced"),
    (partial_sums, "a wrong reduction"),
    (reduced_over_dp, "a wrong reduction"),
    (rounding, "rounding"),
    (multiple, "a constant factor"),
)


def cause_of(case: Case) -> tuple[str, str]:
    """(the mistake, what tells so), the same on all ranks.   Collective"""
    for question, cause in QUESTIONS:
        answer = _agreed(case, question(case))
        if answer:
            return cause, answer
    return UNKNOWN


def _agreed(case: Case, said: Said) -> str:
    """What the first rank that differs says, if all that differ say something; else ''."""
    comm, differs = case.mesh.comm, case.mesh.comm.rank in case.ranks
    yes = to_host(comm.allreduce(asarray(np.array([int(bool(said) or not differs)])), "min"))[0]
    if not yes:
        return ""
    text = np.zeros(LONGEST, np.uint8)
    words = (said or "").encode()[:LONGEST]
    text[: len(words)] = np.frombuffer(words, np.uint8)
    return bytes(to_host(comm.bcast(asarray(text), root=case.ranks[0]))).rstrip(b"\0").decode(errors="ignore")
