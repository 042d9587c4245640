"""Zero bubble, by hand: ZB-H1 and ZB-H2 (Qi et al., Zero Bubble Pipeline Parallelism, ICLR 2024).

The backward is split: I computes dx, for which the stage before waits, W computes dw, for which nobody
waits. So gradients travel back sooner, and W fills the idle time at the end.

    stage s     before its first I    then, in turn
    ZB-H1       P-s forwards          I, from the s-th I on also W, and F
    ZB-H2       2(P-s)-1 forwards     I, from the 2s-th I on also W, and F

and at the end the W that are left. Delaying W so, every stage holds as many micro-batches (from F to
W), and I follows I without a gap. m micro-batches, all of F, I, W in one unit of time, latency 0:

                bubble units          memory of a stage
    1F1B        3(P-1)                min(P-s, m)
    ZB-H1       P-1     (m ≥ P)       min(P, m)       as much as 1F1B's first stage
    ZB-H2       0       (m ≥ 2P-1)    min(2P-1, m)

For fewer micro-batches the bubble of both is 2P-1-m units. ZB-H2's stages start and end one after
another: its bubble is 0 from a stage's own start to its own end, so the optimizer must not wait for
all stages. The paper lets each stage step, and validates afterwards.
"""

from mpipar.schedule.actions import Action


def zb_h1(stage: int, stages: int, micros: int) -> list[Action]:
    """Stage 1 of 3, 4 micro-batches: F0 F1 I0 F2 I1 W0 F3 I2 W1 I3 W2 W3"""
    return split_backward(stage, micros, warm=stages - stage, delay=stage)


def zb_h2(stage: int, stages: int, micros: int) -> list[Action]:
    """Stage 1 of 2, 4 micro-batches: F0 I0 F1 I1 F2 I2 W0 F3 I3 W1 W2 W3"""
    return split_backward(stage, micros, warm=2 * (stages - stage) - 1, delay=2 * stage)


def split_backward(stage: int, micros: int, warm: int, delay: int) -> list[Action]:
    """`warm` forwards, then I, W and F in turn, where W lags `delay` micro-batches behind I."""
    F, I, W = ([Action(stage, kind, micro) for micro in range(micros)] for kind in "FIW")
    row = F[:warm]
    for k in range(micros):
        row += [I[k], *W[max(k - delay, 0) : max(k - delay + 1, 0)], *F[warm + k : warm + k + 1]]
    return row + W[max(micros - delay, 0) :]
