# %% [markdown]
# # Three dimensions: data, tensor and pipeline parallelism at once
#
# A language model on eight ranks: its layers are cut into two stages (pp=2), each layer is shared by
# two ranks (tp=2), and all of that is there twice, for two halves of the batch (dp=2). Along each
# axis something else travels. **What, how often in a step, and along which axis are most bytes sent?
# Which ranks should then be nearest to each other?** Write down an order of the axes, then run.
#
#     .venv/bin/mpipar run -n 8 tutorials/11_three_dimensions.py
#     .venv/bin/mpipar sim -n 8 tutorials/11_three_dimensions.py      virtual ranks

# %%
import numpy as np
from rich.table import Table

import mpipar as mp
from mpipar.arrays import asarray, to_host

args = mp.arguments(
    "A language model on three axes of ranks: what travels along each of them, and how much?",
    trace="traces/11_three_dimensions",
    steps=20,
    micro_batches=4,
    schedule="1f1b",
    zero=1,
    seed=0,
)
world = mp.world(trace=args.trace, values=args.values)
screen = mp.view.console(world.rank)
screen.print(args.description, style="dim")

# %% [markdown]
# Other numbers of ranks have fewer axes: two ranks are two stages, four add tp, and what is odd goes
# to dp. tp comes last in the order, so its ranks are consecutive, on one node; pp comes first.

# %%
pp = 2 if world.size % 2 == 0 else 1
tp = 2 if world.size % 4 == 0 else 1
mesh = mp.parallel.Mesh(world, dp=world.size // (pp * tp), tp=tp, pp=pp)
screen.print(mesh.table(), highlight=False)

text = mp.data.text()
T, W, LAYERS, m = 16, 16, 2, args.micro_batches
x, y = text.blocks(T)
GPT = {"vocabulary": 120, "context": T, "width": W, "layers": LAYERS, "heads": 2}
mine = 2 * m  # samples of a dp rank


def batches(rank, size):
    """What dp rank `rank` of `size` sees; the ranks of tp and pp see the same."""
    batch = mine * mesh["dp"].size
    sampler = mp.data.DistributedSampler(len(x), rank, size, batch, seed=args.seed, drop_last=True)
    return mp.data.Loader(x, y, sampler)


# %% [markdown]
# Four lines put the axes together. The model's layers come from tp; the pipeline keeps those of its
# stages and draws their values; ZeRO shares the optimizer's states among the ranks of dp (stage 0:
# nobody shares); `Training` is the step of 08_mesh. The first stage has the embedding, the last one
# the head, and both are one tied matrix: **whose gradient is it?** (`mpipar/parallel/stages.py`)


# %%
def layout(dtype="float32"):
    model = mp.parallel.gpt(GPT | {"dtype": dtype}, mesh)
    stages = mp.parallel.Pipeline(model, mesh["pp"], args.schedule, micro_batches=m, seed=args.seed)
    dp, AdamW = mesh["dp"], mp.optim.AdamW
    if args.zero:
        shared = stages.ties.shared
        optimizer = mp.parallel.ZeRO(stages.model, AdamW, dp, args.zero, alone=shared, lr=3e-3)
    else:
        optimizer = AdamW(stages.parameters(), lr=3e-3)
    return mp.parallel.Training(stages.model, optimizer, mesh, clip=1.0, pipeline=stages)


training = layout()
n = sum(p.size for p in training.model.parameters())
whole = mp.nn.GPT(**GPT).num_parameters()
screen.print(f"\n{whole:,} parameters, of which rank 0 has {n:,}\n", highlight=False)

# %% [markdown]
# A prediction for rank 0, the first stage. Let a be the bytes of one layer's activations, 4 · samples
# · T · W. Along **pp** it sends those of its last layer: a, in m messages. Along **tp** the embedding
# is a sum of a, and so is each of the two pairs of a block, forward and backward: 1 + 4 sums a block,
# m times each. Along **dp** its gradients are summed and its parameters gathered: twice 4n.
# (Behind them come single numbers: the norm of all gradients.)

# %%
a = 4 * mine * T * W
blocks = LAYERS // pp
predicted = {"pp": a, "tp": (1 + 4 * blocks) * a, "dp": 2 * 4 * n if args.zero else 4 * n}

with mp.view.progress(screen, args.steps, "step") as advance:
    for number, batch in enumerate(batches(mesh["dp"].rank, mesh["dp"].size), 1):
        loss = training.step(batch)  # on the last stage this dp rank's part of the mean, else 0
        if number % 5 == 0 or number == args.steps:
            loss = mesh["dp,pp"].allreduce(asarray(np.array([float(to_host(loss))])))
            advance(f"loss {to_host(loss)[0]:.4f}", (number - 1) % 5 + 1)
        if number == args.steps:
            break

# %% [markdown]
# And the trace of a step in the middle: the sizes of all collectives, and of the messages of pp.

# %%
if world.recorder is not None:
    world.recorder.flush()
    world.barrier()
    trace = mp.trace.read(world.recorder.folder) if world.rank == 0 else None
    events = [e for e in trace.ranks[0].events if e.step == args.steps // 2] if trace else []
    table = Table("axis", "ranks", "calls", "bytes predicted", "bytes", box=None, header_style="bold")
    for axis in ("tp", "dp", "pp"):
        sends = (*mp.trace.COLLECTIVES, "isend") if axis == "pp" else mp.trace.COLLECTIVES
        found = [e for e in events if e.op in sends and trace.axes.get(e.comm) == axis]
        if mesh.axes[axis] > 1:
            row = mesh.axes[axis], len(found), f"{predicted[axis]:,}", f"{sum(e.bytes for e in found):,}"
            table.add_row(axis, *map(str, row))
    screen.print(table, highlight=False)

# %% [markdown]
# tp sends at every layer, so it needs the fastest links; dp once a step, and as much as there are
# parameters, however small the batch; pp sends least, but its ranks wait: (P-1)/(m+P-1) of the time.
# Change `--micro-batches`, `--schedule zb-h1` or `--zero 0`: **what changes?** Compare the bubble:
#
#     .venv/bin/mpipar trace summary traces/11_three_dimensions
#
# The same from the command line, with checkpoints that go on on any other mesh:
#
#     mpipar train --model gpt --mesh dp=2,tp=2,pp=2 --micro-batches 4 --zero 1 --checkpoint runs/mine
#
# Three axes, two stages, pieces, ties, micro-batches: is it still the training of one rank?

# %%
alone = mp.parallel.Mesh(world.split(world.rank))


def serial():
    model = mp.nn.GPT(**GPT, dtype="float64", seed=args.seed)
    return mp.parallel.Training(model, mp.optim.AdamW(model.parameters(), lr=3e-3), alone, clip=1.0)


certificate = mp.parallel.certify(lambda: layout("float64"), serial, batches, steps=2)
screen.print(f"\n{mesh} against one rank alone: {certificate}", highlight=False)
mp.view.report(world, screen)
