# %% [markdown]
# # Pipelines: who stands idle, and for how long
#
# The layers of a network are shared by four ranks: two layers each. A batch passes through all of
# them, forward and back, so while one rank computes, three wait. Cut into 8 micro-batches, it keeps
# more ranks busy. **For which part of the time does a rank still stand idle? And does it help to
# compute the gradient that another rank waits for before the one for which nobody waits?**
#
#     .venv/bin/mpipar run -n 4 tutorials/09_pipeline.py
#     .venv/bin/mpipar sim -n 16 tutorials/09_pipeline.py      virtual ranks

# %%
import numpy as np

import mpipar as mp
from mpipar.arrays import asarray
from mpipar.schedule import Action, Schedule, Times, build, draw_fault, draw_text, find_fault, timeline

args = mp.arguments(
    "Four ranks have two layers each. Which part of the time do they stand idle?",
    trace="traces/09_pipeline",
    micro_batches=8,
    milliseconds=4.0,
)
world = mp.world(trace=args.trace, values=args.values)
screen = mp.view.console(world.rank)
screen.print(args.description, style="dim")
P, m = world.size, args.micro_batches

# %% [markdown]
# First on paper. All ranks take equally long for a micro-batch. The last rank can begin when P-1
# others have done theirs, and in the end they wait for the gradients to come back: a rank is idle
# for P-1 micro-batches and busy for m, so the **bubble** is (P-1)/(m+P-1) of the time. Here are
# GPipe, 1F1B, and ZB-H1, which splits each backward B in two: I, the gradient of the input, and W,
# that of the weights. **Where do you see P-1? Why may ZB-H1 put W last?**

# %%
SCHEDULES = [build(name, P, m) for name in ("gpipe", "1f1b", "zb-h1")]
WIDE = 16  # ranks whose grids are still to be read
for schedule in SCHEDULES if P <= WIDE else []:
    screen.print(f"\n{schedule.name}", highlight=False)
    screen.print(draw_text(schedule, width=100).rstrip(), highlight=False, no_wrap=True)

# %% [markdown]
# Now a schedule of your own: what a rank runs, in order. This one begins as many forwards as 1F1B,
# but lets W wait until the end. Change it and run again: `find_fault` says what cannot work before
# anything is sent. **Can you have ZB-H1's bubble with less memory? A smaller one with more?**


# %%
def mine(stage):
    F, I, W = ([Action(stage, kind, micro) for micro in range(m)] for kind in "FIW")
    warm = min(P - stage, m)  # forwards before the first backward
    steady = [action for pair in zip(I, F[warm:], strict=False) for action in pair]
    return F[:warm] + steady + I[m - warm :] + W


own = Schedule("mine", tuple(tuple(mine(stage)) for stage in range(P)))
fault = find_fault(own)
if fault and P <= WIDE:
    screen.print(draw_fault(own, fault, width=100), highlight=False, no_wrap=True)
if fault:
    screen.print(f"mine: {fault.text}", highlight=False)

# %% [markdown]
# The network. So that the ranks do not fight for the cores of one computer, a layer computes little
# and then pauses: once forward, once for dx and once for dw. An operation is its result, its inputs
# and the function that sends the gradient back; one that is not asked for need not be computed.


# %%
def slow_linear(x, w):
    """y = x wᵀ;   dx = dy w,   dw = dyᵀ x."""

    def slowly(result):
        world.pause(args.milliseconds / 1e3)
        return result

    def vjp(dy):
        dx = slowly(dy @ w.data) if x.requires_grad else None
        return dx, slowly(dy.T @ x.data) if w.requires_grad else None

    return mp.Tensor(slowly(x.data @ w.data.T), (x, w), vjp)


class SlowLinear(mp.nn.Linear):
    def forward(self, x):
        return slow_linear(x, self.weight)


def network():
    """A quick layer, two slow ones a rank; no values yet: a rank draws its own layers only."""
    slow = [SlowLinear(8, 8, bias=False, dtype=np.float64) for _ in range(2 * P)]
    return mp.nn.Sequential(mp.nn.Linear(8, 8, dtype=np.float64), *slow)


# %% [markdown]
# The run: the pipeline lowers a schedule to actions, sends and receives, and carries out this rank's
# row of it. Prediction: two layers take 2 pauses for F, 2 for I and 2 for W, and B is I and W. Under
# `mpipar sim` it comes true; on real ranks the fastest of three batches comes close where each has a
# core of its own.

# %%
draw = np.random.default_rng(0)
x, y = (asarray(draw.standard_normal((4 * m, 8))) for _ in range(2))
times = Times(*3 * [2 * args.milliseconds / 1e3])
losses = []
screen.print("\nschedule   bubble predicted   measured   activations held by rank 0", highlight=False)
for schedule in [*SCHEDULES, *([] if fault else [own])]:
    sizes = [3] + [2] * (P - 1)  # layers of each stage
    pipeline = mp.parallel.Pipeline(network(), world, schedule, partition=sizes, loss=mp.tensor.mse, seed=0)
    spans = []
    for _ in range(3):  # the first batch also tells the shapes
        pipeline.model.zero_grad()
        world.barrier()
        start = world.wtime()
        loss = pipeline.step(x, y)
        spans.append(world.allreduce(np.array([world.wtime() - start]), "max")[0])
    losses.append(pipeline.broadcast(loss))
    line = timeline(schedule, times)
    predicted, measured = (1 - line.work / span for span in (line.makespan, min(spans)))
    screen.print(
        f"{schedule.name:8} {predicted:18.1%} {measured:10.1%} {pipeline.peak:12}",
        highlight=False,
        soft_wrap=True,
    )
equal = np.ptp(losses) < 1e-12
screen.print(f"all schedules have one loss: {'yes' if equal else 'NO'} ({losses[0]:.12f})", highlight=False)

# %% [markdown]
# Every action is in the trace under its name, as `2F0`: stage 2, forward, micro-batch 0, and every
# message with the action that made it. **Which rank waits longest, and for whom?**
#
#     .venv/bin/mpipar trace summary traces/09_pipeline

# %%
mp.view.report(world, screen)
