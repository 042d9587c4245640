# %% [markdown]
# # Tensor parallelism: ranks share a layer
#
# A layer y = x Wᵀ is too large for one rank, so four ranks take a quarter of W each: by columns of
# the layer (its outputs) or by rows (its inputs). **What must they send, forward and backward? And
# what if a column layer is followed by a row layer?** Predict, then run.
#
#     .venv/bin/mpipar run -n 4 tutorials/07_tensor_parallel.py

# %%
import numpy as np

import mpipar as mp
from mpipar.arrays import asarray, to_host
from mpipar.parallel.differentiable import allreduce_fwd_copy_bwd, copy_fwd_allreduce_bwd
from mpipar.tensor import linear, relu

args = mp.arguments(
    "Ranks share a layer's weights. Which numbers must they send, forward and backward?",
    trace="traces/07_tensor_parallel",
    samples=6,
    mistake=("none", "bias", "conjugate"),
)
world = mp.world(trace=args.trace, values=args.values)
screen = mp.view.console(world.rank)
screen.print(args.description, style="dim")
if args.samples < 1:
    raise mp.errors.OptionError(f"--samples {args.samples}: give 1 or more")
p, r, n = world.size, world.rank, args.samples
WIDTH, HIDDEN = 8, 12 * p

# %% [markdown]
# The layers whole, as one rank has them: x (n, 8), W₁ (hidden, 8), W₂ (8, hidden). Every rank draws
# the same numbers, and computes the answers that the shared layers will be compared with.

# %%
draw = mp.arrays.generator(0, "layers")
x, W1, W2 = (draw.standard_normal(shape) for shape in ((n, WIDTH), (HIDDEN, WIDTH), (WIDTH, HIDDEN)))
h = np.maximum(x @ W1.T, 0)
y = h @ W2.T
dy = draw.standard_normal(y.shape)  # what comes back from the loss
dx = ((dy @ W2) * (h > 0)) @ W1


def compare(what, mine, right):
    """Print the largest difference on any rank."""
    worst = to_host(world.allreduce(asarray(np.array([abs(to_host(mine) - right).max()])), "max"))[0]
    verdict = f"right (to {worst:.0e})" if worst < 1e-9 else f"wrong by {worst:.2g}"
    screen.print(f"  {what}  {verdict}", highlight=False)


# %% [markdown]
# **By columns.** Rank r has rows W_r of W₁. All ranks have x, and y_r = x W_rᵀ: the r-th part of the
# outputs. **Forward: who needs a number that another rank has?** (Nobody. Nothing is sent.)
#
# Backward, rank r knows dy_r and its weights: dx_r = dy_r W_r. **Is that dx?** (No: x went into all
# columns, on all ranks. dx = Σ dx_r, an allreduce of n·8 numbers.)

# %%
mine = slice(r * HIDDEN // p, (r + 1) * HIDDEN // p)
W1_r = asarray(W1[mine].copy())
with world.scope("columns"):
    h_r = np.maximum(to_host(asarray(x) @ W1_r.T), 0)
    screen.print("by columns", style="bold")
    dh_r = (dy @ W2[:, mine]) * (h_r > 0)
    dx_r = asarray(dh_r) @ W1_r
    compare("forward without a message ", h_r, h[:, mine])
    compare("backward without a message", dx_r, dx)
    compare("backward with an allreduce", world.allreduce(dx_r), dx)

# %% [markdown]
# **By rows.** Rank r has columns W_r of W₂, and of the inputs just those that go with them: exactly
# what a column layer leaves behind. h_r W_rᵀ is a term of each output, so now it is the forward pass
# that needs a sum. **And backward?** (dh_r = dy W_r: all ranks have dy, so nothing is sent.)

# %%
W2_r = asarray(W2[:, mine].copy())
with world.scope("rows"):
    screen.print("by rows", style="bold")
    y_r = asarray(h_r) @ W2_r.T
    compare("forward without a message ", y_r, y)
    compare("forward with an allreduce ", world.allreduce(y_r), y)
    compare("backward without a message", asarray(dy) @ W2_r, (dy @ W2)[:, mine])

# %% [markdown]
# **Together**, column, relu, row: one allreduce forward and one backward, each rank with 1/p of both
# weights, and nobody ever sees all of h (Shoeybi et al., Megatron-LM, 2019). The two messages are
# operations of the graph, named by what they do forward and backward: each is the other's opposite.
# The layers below are those of `mpipar/parallel/tensor.py`, written out with two mistakes to choose from.


# %%
class Column(mp.parallel.tensor.ColumnLinear):
    def forward(self, x):
        x = x if args.mistake == "conjugate" else copy_fwd_allreduce_bwd(x, self.tp)
        return linear(x, self.weight, self.bias)


class Row(mp.parallel.tensor.RowLinear):
    def forward(self, x):
        if args.mistake == "bias":
            return allreduce_fwd_copy_bwd(linear(x, self.weight, self.bias), self.tp)
        return allreduce_fwd_copy_bwd(linear(x, self.weight), self.tp) + self.bias


class Net(mp.nn.Module):
    """Two pairs of a column and a row layer.   tp: () for the serial twin"""

    def __init__(self, column, row, *tp):
        for name, kind, *widths in (("a", column, WIDTH, HIDDEN), ("b", row, HIDDEN, WIDTH)) * 2:
            name = name if not hasattr(self, name) else {"a": "c", "b": "d"}[name]
            setattr(self, name, kind(*widths, *tp, dtype=np.float64))
        self.initialize(seed=0)

    def loss(self, x, target):
        z = self.d(relu(self.c(relu(self.b(relu(self.a(x))))))) - mp.Tensor(target)
        return (z * z).mean()


def training(mesh, *layers):
    model = Net(*layers)
    return mp.parallel.Training(model, mp.optim.SGD(model.parameters(), lr=0.1), mesh)


# %% [markdown]
# **How many allreduces does a training step of these four layers send?** (Two forward, and backward
# one, not two: x has no gradient, so nobody asks the first layer for it.) Is it the same training?
# The certificate compares every output, gradient and weight with those of one rank alone, in the
# order in which they are computed, and names the first that differs:

# %%
mesh, alone = mp.parallel.Mesh(world, tp=p), mp.parallel.Mesh(world.split(r))
batch = mp.data.Batch(asarray(x), asarray(y), 1.0, (0, n, n))
certificate = mp.parallel.certify(
    lambda: training(mesh, Column, Row, mesh["tp"]),
    lambda: training(alone, mp.nn.Linear, mp.nn.Linear),
    lambda rank, size: [batch] * 3,
)
screen.print(f"\n{certificate}", highlight=False)

# %% [markdown]
# **Where does a row layer's bias go: before the sum, or behind it? And what happens if a column layer
# forgets its allreduce, which the forward pass does not need?** Predict what the certificate will
# say (which tensor, on which ranks, how far off), then try `--mistake bias` and `--mistake conjugate`.

# %%
mp.view.report(world, screen)
