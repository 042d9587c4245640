# %% [markdown]
# # Gradients: what backward does, and why it adds up over ranks
#
# A loss depends on 1,000 weights. To find its slope in each of them you could nudge one weight
# at a time and look. **How many times must the loss be computed? And how many times if the
# program remembers how it computed the loss?** Predict, then run.
#
#     .venv/bin/mpipar run -n 4 tutorials/01_gradients.py

# %%
import time

import numpy as np

import mpipar as mp
from mpipar.arrays import asarray, to_host

args = mp.arguments(
    "A loss depends on many weights. How many times must it be computed to find its slope in each?",
    trace="traces/01_gradients",
    weights=1000,
)
world = mp.world(trace=args.trace, values=args.values)
screen = mp.view.console(world.rank)
screen.print(args.description, style="dim")

# %% [markdown]
# Forty samples x, targets y, and one weight per feature. Every rank draws the same numbers,
# because they depend on the seed and the name alone. The loss is the mean squared error.

# %%
draw = mp.arrays.generator(0, "samples")
x = draw.standard_normal((40, args.weights))
y = draw.standard_normal(40)
w = np.zeros(args.weights)


def loss_of(w, x, y):
    error = mp.Tensor(x) @ w - mp.Tensor(y)
    return (error * error).mean()


# %% [markdown]
# Nudging: central differences, (L(w + h) - L(w - h)) / 2h, for every weight in turn.

# %%
start, h, slopes = time.perf_counter(), 1e-5, np.empty(args.weights)
for i in range(args.weights):
    up, down = w.copy(), w.copy()
    up[i], down[i] = w[i] + h, w[i] - h
    slopes[i] = (loss_of(mp.Tensor(up), x, y).item() - loss_of(mp.Tensor(down), x, y).item()) / (2 * h)
took = mp.view.readable_time(time.perf_counter() - start)
screen.print(f"nudging:  the loss was computed {2 * args.weights} times, {took}")

# %% [markdown]
# Backward: each operation kept its inputs and knows how to send a gradient back through itself
# (its *vjp*, beside it in `mpipar/tensor/`). One walk from the loss to the leaves gives all
# slopes at once, for about the price of two more losses.

# %%
start = time.perf_counter()
weights = mp.Tensor(w, requires_grad=True)
loss_of(weights, x, y).backward()
gradient = to_host(weights.grad)
took = mp.view.readable_time(time.perf_counter() - start)
screen.print(f"backward: the loss was computed 1 time, {took}")
screen.print(f"largest difference between the two: {abs(gradient - slopes).max():.1e}\n")

# %% [markdown]
# Now split the samples: each rank takes its own part of the 40. **The mean over all samples has
# a gradient; each rank has the gradient of the mean over its part. How are they related when
# the parts are unequal?** (Weight each by its share of the samples, then sum.)

# %%
mine = np.array_split(np.arange(40), world.size)[world.rank]
weights = mp.Tensor(w, requires_grad=True)
part = asarray(np.zeros(args.weights))
if len(mine):  # of more than 40 ranks, some have no sample, and nothing to add
    loss_of(weights, x[mine], y[mine]).backward()
    part = weights.grad * (len(mine) / 40)
together = world.allreduce(part, algorithm="ring")

difference = world.allreduce(abs(asarray(to_host(together) - gradient)).max().reshape(1), "max")
ranks = mp.view.readable_count(world.size, "rank")
screen.print(f"{ranks}; rank 0 has {len(mine)} of the 40 samples")
screen.print(f"sum of share · gradient against the gradient of the whole: {to_host(difference)[0]:.1e}")

# %% [markdown]
# That one allreduce is data parallelism; tutorial 04 trains with it. What did it send?

# %%
mp.view.report(world, screen)
