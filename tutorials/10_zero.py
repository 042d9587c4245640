# %% [markdown]
# # ZeRO: four ranks, one copy
#
# Data parallelism keeps everything on every rank: parameters, gradients, and what the optimizer
# remembers, which for AdamW is two numbers a parameter. In float32 that is 4 + 4 + 8 = 16 bytes a
# parameter, and all ranks have the same. Let each of four own a quarter instead.
#
# **How many bytes a parameter does a rank then need, if it owns a quarter of the optimizer's
# numbers only? Of the gradients, too? Of everything? And how many more bytes must it send?**
# Write six numbers down, then run.
#
#     .venv/bin/mpipar run -n 4 tutorials/10_zero.py
#     .venv/bin/mpipar sim -n 16 tutorials/10_zero.py --optimizer SGD      without memory: what changes?

# %%
import numpy as np
from rich.table import Table

import mpipar as mp
from mpipar.parallel.memory import closed_form, memory_bytes
from mpipar.tensor import cross_entropy
from mpipar.trace import read

STATES = {"SGD": 0, "AdaGrad": 1, "Adam": 2, "AdamW": 2}  # numbers a parameter that the optimizer keeps
args = mp.arguments(
    "All ranks keep 16 bytes a parameter, and all the same. How few are enough, and what must be sent?",
    trace="traces/10_zero",
    optimizer="AdamW",
    steps=8,
    batch=64,
    lr=2e-3,
)
world = mp.world(trace=args.trace, values=args.values)
screen = mp.view.console(world.rank)
screen.print(args.description, style="dim")
if args.optimizer not in STATES:
    raise mp.errors.OptionError(f"--optimizer {args.optimizer}: choose from {', '.join(STATES)}")
rule, k, N = getattr(mp.optim, args.optimizer), STATES[args.optimizer], world.size

# %% [markdown]
# Stage 0 is data parallelism as in 04_data_parallel. Stages 1, 2 and 3 are one class, and the loop
# is the same for all. `averaging` is where gradients travel: in stage 1 at its end, in stages 2
# and 3 within `backward`, bucket by bucket, so that they are never all there. In stage 3 a layer's
# weights are gathered before it computes, and forgotten after. **Where in the loop are the
# parameters gathered in stages 1 and 2?** (`mpipar/parallel/zero.py:ZeRO.step`)


# %%
def build(stage):
    """The model, and what steps it: an optimizer, or a ZeRO; then what averages."""
    model = mp.nn.MLP([64, 240, 240, 240, 12], seed=0)
    if stage:
        zero = mp.parallel.ZeRO(model, rule, world, stage, algorithm="ring", lr=args.lr)
        return model, zero, zero
    replica = mp.parallel.DataParallel(model, world, algorithm="ring")
    return model, rule(model.parameters(), lr=args.lr), replica


def train(stage):
    """Losses of all steps, on all ranks, and the bytes that this rank keeps after the last one."""
    model, optimizer, replica = build(stage)
    x, y = mp.data.digits("train")
    sampler = mp.data.DistributedSampler(len(x), world.rank, N, args.batch, seed=0)
    losses = []
    for step, batch in zip(range(args.steps), mp.data.Loader(x, y, sampler), strict=False):
        optimizer.zero_grad()
        with world.scope(f"stage {stage}", step):
            with replica.averaging(batch.share):
                if batch.share:  # with very many ranks some have no sample
                    loss = cross_entropy(model(mp.Tensor(batch.x)), batch.y)
                    loss.backward()
            optimizer.step()
        losses.append(loss.item() * batch.share if batch.share else 0.0)
    kept = optimizer.memory_bytes() if stage else memory_bytes(model, optimizer)
    numbers = np.array(list(kept.values()))
    return world.allreduce(np.array(losses)), dict(zip(kept, world.allreduce(numbers, "max"), strict=True))


runs = {stage: train(stage) for stage in range(4)}

# %% [markdown]
# What is kept, by the formula and counted in the arrays that are there. With Ψ parameters of 4
# bytes, N ranks, and k numbers a parameter in the optimizer:
#
#     stage 0   (2 + k) 4Ψ             stage 2   (1 + (1 + k)/N) 4Ψ
#     stage 1   (2 + k/N) 4Ψ           stage 3   (2 + k)/N 4Ψ   and room for the largest layer

# %%
model = mp.nn.MLP([64, 240, 240, 240, 12])
layers = [sum(p.size for p in layer.parameters()) for layer in model]
psi = sum(layers)
table = Table(
    title=f"Bytes kept by a rank of {N}, {args.optimizer} (k={k}), {psi:,} parameters",
    title_justify="left",
    box=None,
    pad_edge=False,
)
for column in (
    "stage",
    "parameters",
    "gradients",
    "states",
    "gathered",
    "predicted",
    "measured",
    "a parameter",
):
    table.add_column(column, justify="right")
for stage, (_, kept) in runs.items():
    predicted = sum(closed_form(psi, N, stage, k, 4, max(layers)).values())
    total = int(sum(kept.values()))
    cells = [*(f"{int(n):,}" for n in kept.values()), f"{predicted:,.0f}", f"{total:,}", f"{total / psi:.2f}"]
    table.add_row(str(stage), *cells)
screen.print(table, highlight=False)
worst = max(abs(losses - runs[0][0]).max() / runs[0][0].max() for losses, _ in runs.values())
screen.print(
    f"all stages have the losses of stage 0: {'yes' if worst < 1e-4 else 'NO'} "
    f"(from {runs[0][0][0]:.3f} to {runs[0][0][-1]:.3f}; largest relative difference {worst:.0e})",
    highlight=False,
)

# %% [markdown]
# And what was sent, read from the trace. The allreduce of stage 0 is a reduce-scatter and an
# allgather, each of (N-1)/N of all numbers. Stages 1 and 2 put the optimizer between the two, and
# send not a byte more. Stage 3 gathers twice, before forward and before backward: 3 instead of 2.

# %%
mp.view.report(world, screen)
if world.recorder is not None and world.rank == 0:
    ranks = read(world.recorder.folder).ranks.values()
    screen.print(f"\nbytes that the busiest of {N} sends a step, with 4Ψ = {4 * psi:,}", highlight=False)
    for stage in runs:
        of_rank = [
            sum(e.bytes for e in rank.events if e.op == "send" and e.scope.startswith(f"stage {stage}"))
            for rank in ranks
        ]
        times = 2 if stage < 3 else 3
        predicted, sent = times * 4 * psi * (N - 1) / N, max(of_rank) / args.steps
        screen.print(f"  stage {stage}   predicted {predicted:11,.0f}   sent {sent:11,.0f}", highlight=False)

# %% [markdown]
# So why not always stage 3? It does not only send more: no layer can begin before its weights are
# there. **With AdamW, from how many ranks on does stage 1 give half of the memory back?** (16 becomes
# 8 + 8/N: never quite.) And there is a part that none of the stages shares: the activations, which
# grow with the batch and not with the model.
