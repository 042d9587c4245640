# %% [markdown]
# # The mesh: data and tensor parallelism at once
#
# A language model learns to write on four ranks: two replicas (dp=2), each of which two ranks share
# (tp=2). **Which ranks talk to each other, about what, and how often in a step?** Predict, then run.
#
#     .venv/bin/mpipar run -n 4 tutorials/08_mesh.py

# %%
import numpy as np

import mpipar as mp
from mpipar.arrays import asarray, to_host
from mpipar.parallel.differentiable import allgather_fwd_slice_bwd

args = mp.arguments(
    "A language model on a mesh of ranks: who talks to whom, about what, and how often?",
    trace="traces/08_mesh",
    steps=60,
    batch=16,
    sequence=False,
    seed=0,
)
world = mp.world(trace=args.trace, values=args.values)
screen = mp.view.console(world.rank)
screen.print(args.description, style="dim")

# %% [markdown]
# Ranks that share weights talk in every layer, so they should be neighbours: tp is the axis whose
# ranks are consecutive. On an odd number of ranks there is nothing to share here, and dp takes all.

# %%
tp = 2 if world.size % 2 == 0 else 1
mesh = mp.parallel.Mesh(world, dp=world.size // tp, tp=tp)
screen.print(mesh.table(), highlight=False)

# %% [markdown]
# The text is Python's own help, as characters; a sample is 32 of them, the answers the next ones.
# The vocabulary is rounded up to 120, so that 2 ranks (or 3, 4, 5, 6, 8) can share its rows.

# %%
text = mp.data.text()
x, y = text.blocks(32)
GPT = {"vocabulary": 120, "context": 32, "width": 32, "layers": 2, "heads": 4}
GPT |= {"tied": False, "seed": args.seed}


def training(model, mesh):
    """One text for the layout and for its serial twin: only the model and the mesh are others."""
    return mp.parallel.Training(model, mp.optim.AdamW(model.parameters(), lr=3e-3), mesh, clip=1.0)


def batches(rank, size):
    """What dp rank `rank` of `size` sees; tp ranks see the same."""
    sampler = mp.data.DistributedSampler(len(x), rank, size, args.batch, seed=args.seed)
    return mp.data.Loader(x, y, sampler)


model = mp.parallel.gpt(GPT, mesh, args.sequence and tp > 1)
step = training(model, mesh)
whole = mp.nn.GPT(**GPT).num_parameters()
screen.print(f"\n{whole:,} parameters, of which each rank has {model.num_parameters():,}\n", highlight=False)

# %% [markdown]
# More than half, where tp=2: norms, positions and the biases behind a sum are whole on every rank.
#
# **How many allreduces along tp in a step, forward and backward, of a model with 2 layers?** A pair
# of column and row layer costs one forward and one backward (tutorial 07), and a layer has two pairs.
# Add 1 for the embedding, 2 for the loss, 1 for the gradient that the last layer, which gives the
# logits, hands back, and 1 number for the norm of all gradients. And along dp? One, of all
# gradients: of a tp rank's own part, so ranks 0 and 2 sum, and 1 and 3.

# %%
with mp.view.progress(screen, args.steps, "step") as advance:
    for number, batch in zip(
        range(1, args.steps + 1), batches(mesh["dp"].rank, mesh["dp"].size), strict=False
    ):
        loss = step.step(batch)  # this dp rank's part of the mean
        if number % 10 == 0 or number == args.steps:
            loss = mesh["dp"].allreduce(asarray(np.array([float(to_host(loss))])))
            advance(f"loss {to_host(loss)[0]:.4f}", (number - 1) % 10 + 1)

# %% [markdown]
# The trace knows the axis of every message. Of a step in the middle, on rank 0:

# %%
if world.recorder is not None:
    world.recorder.flush()
    world.barrier()
    trace = mp.trace.read(world.recorder.folder) if world.rank == 0 else None
    events = [e for e in trace.ranks[0].events if e.step == args.steps // 2] if trace else []
    for axis in ("tp", "dp"):
        calls = [e for e in events if e.op in mp.trace.COLLECTIVES and trace.axes.get(e.comm) == axis]
        total = mp.view.readable_bytes(sum(e.bytes for e in calls))
        screen.print(
            f"along {axis}: {mp.view.readable_count(len(calls), 'collective')} a step, of {total}",
            highlight=False,
        )

# %% [markdown]
# What has it learned? It goes on with a text. Each rank has the logits of its own words only, so for
# each character the tp ranks put them together, and all draw the same one.

# %%
written, draw = text.validation[:32].tolist(), mp.arrays.generator(args.seed, "writing")
with mp.no_grad():
    for _ in range(40):
        logits = model(asarray(np.array([written[-32:]])))
        last = to_host(allgather_fwd_slice_bwd(logits, mesh["tp"], dim=-1).data)[0, -1]
        p = np.exp(last[: len(text.vocabulary)])
        written.append(draw.choice(len(p), p=p / p.sum()))
for what, ids in (("given", written[:32]), ("it writes", written[32:])):
    screen.print(f"{what:>9}: {text.decode(ids)!r}", highlight=False)

# %% [markdown]
# It is early days. But is it the same training as on one rank? The certificate runs both side by side
# in float64 and compares every output, gradient and parameter. Then see `--sequence`: **what is an
# allreduce replaced by, and does the number of bytes change?**

# %%
mine, alone = GPT | {"dtype": np.float64}, mp.parallel.Mesh(world.split(world.rank))
certificate = mp.parallel.certify(
    lambda: training(mp.parallel.gpt(mine, mesh, args.sequence and tp > 1), mesh),
    lambda: training(mp.nn.GPT(**mine), alone),
    batches,
    steps=2,
)
screen.print(f"{mesh} against one rank alone: {certificate}", highlight=False)
mp.view.report(world, screen)
