# %% [markdown]
# # Data parallelism: four ranks train as one
#
# Four ranks hold the same network. Each takes a quarter of every batch of handwritten digits
# and computes its own gradient; then all need the average. The network has 17,226 parameters.
#
# **How many numbers does each rank send in one step? And will the four ranks end with the same
# weights as one rank that sees every batch whole?** Predict, then run.
#
#     make tutorial           or           .venv/bin/mpipar run -n 4 tutorials/04_data_parallel.py

# %%
import time

import numpy as np

import mpipar as mp
from mpipar.arrays import to_host
from mpipar.tensor import cross_entropy

args = mp.arguments(
    "Several ranks train one network on digits. Will they end with the same weights as one rank alone?",
    trace="traces/04_data_parallel",
    epochs=20,
    batch=64,
    lr=3e-3,
    seed=0,
)
world = mp.world(trace=args.trace, values=args.values)
screen = mp.view.console(world.rank)
screen.print(args.description, style="dim")
SAMPLES = len(mp.data.digits("train")[1])

# %% [markdown]
# The data: 1437 images to train on, 360 to test. float64, so that a difference between the two
# runs can only be rounding. A batch of 64 gives each of four ranks 16 images; the last batch of
# an epoch has 29, so that three ranks get 7 and one gets 8.


# %%
def build():
    """The same network, the same optimizer: initial values depend on the seed alone."""
    model = mp.nn.MLP([64, 128, 64, 10], seed=args.seed, dtype=np.float64)
    return model, mp.optim.AdamW(model.parameters(), lr=args.lr)


def batches(rank, size):
    """What rank `rank` of `size` sees of the training set: its part of every global batch."""
    x, y = mp.data.digits("train", dtype=np.float64)
    sampler = mp.data.DistributedSampler(len(x), rank, size, args.batch, seed=args.seed)
    return mp.data.Loader(x, y, sampler)


def accuracy(model):
    """The share of test images that are recognised; every rank looks at its part of them."""
    x, y = mp.data.digits("test", dtype=np.float64)
    mine = slice(world.rank, None, world.size)
    with mp.no_grad():
        guess = to_host(model(mp.Tensor(x[mine])).data).argmax(axis=1)
    right = np.array([(guess == y[mine]).sum()])
    return int(world.allreduce(right)[0]) / len(x)


# %% [markdown]
# The step. Take away `average` and you have the serial program; that one line is all that data
# parallelism adds. `mpipar/parallel/data.py` shows the messages behind it.


# %%
def train(model, optimizer, loader, average, after_epoch):
    """Train for all epochs; after_epoch(sum of the losses of the samples seen here)."""
    for epoch in range(args.epochs):
        loader.set_epoch(epoch)
        total = 0.0
        for step, batch in enumerate(loader, epoch * len(loader)):
            with world.scope("step", step):  # inside, modules, backward and optimizer name themselves
                optimizer.zero_grad()
                if len(batch.y):  # with very many ranks, a short last batch leaves some without
                    loss = cross_entropy(model(mp.Tensor(batch.x)), batch.y)
                    loss.backward()
                    total += loss.item() * len(batch.y)
                average(batch.share)
                optimizer.step()
        after_epoch(total)


# %%
model, optimizer = build()
replica = mp.parallel.DataParallel(model, world)
losses = []
start = time.perf_counter()
with mp.view.progress(screen, args.epochs) as advance:

    def after_epoch(total):
        losses.append(world.allreduce(np.array([total]))[0] / SAMPLES)
        advance(f"loss {losses[-1]:.4f}   test accuracy {accuracy(model):6.2%}")

    train(model, optimizer, batches(world.rank, world.size), replica.average_gradients, after_epoch)
replica.verify()  # still equal, bit for bit, after all steps
epochs, ranks = (mp.view.readable_count(*of) for of in ((args.epochs, "epoch"), (world.size, "rank")))
screen.print(f"{epochs} on {ranks} in {mp.view.readable_time(time.perf_counter() - start)}")

# %% [markdown]
# Was it the same? Rank 0 now trains alone, on whole batches, and compares every weight. The two
# runs add the same numbers in another order, so they may differ by rounding, some 1e-16 a step,
# which training can amplify a little. A missing average would show as 1e-1.

# %%
if world.rank == 0:
    with screen.status("the same training on one rank"), world.scope("serial run"):
        alone, its_optimizer = build()
        its_losses = []
        train(alone, its_optimizer, batches(0, 1), lambda share: None, its_losses.append)
    differences = {
        name: float(abs(p.numpy() - q.numpy()).max() / abs(q.numpy()).max())
        for (name, p), q in zip(model.named_parameters(), alone.parameters(), strict=True)
    }
    worst = max(differences, key=differences.get)
    same_loss = np.allclose(losses, np.array(its_losses) / SAMPLES, rtol=1e-9)
    equal = same_loss and differences[worst] < 1e-9
    screen.print(
        f"equal to the serial run: {'yes' if equal else 'NO'} "
        f"(largest relative difference {differences[worst]:.1e}, in {worst})",
        highlight=False,
    )

# %% [markdown]
# What was sent? Each step sums 17,226 gradients, by the algorithm that the library holds to be the
# fastest for so many: each rank sends 2·3/4·17,226 numbers, as few as can be (ratio 1.00). The
# small allreduces are the loss and the accuracy; for those, fewer messages matter more.

# %%
mp.view.report(world, screen)
