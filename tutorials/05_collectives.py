# %% [markdown]
# # Collectives: which algorithm, and from how many bytes on
#
# A sum that all of p ranks need can be formed in many ways. Recursive doubling takes log2 p
# messages one after the other, each with all n bytes. The ring takes 2(p-1) messages, each with
# n/p bytes. So one is faster for few bytes and the other for many. **With 1 µs a message and
# 15 GB/s, from how many bytes on is the ring faster on 4 ranks? And on 256?** Write both down.
#
#     .venv/bin/mpipar run -n 4 tutorials/05_collectives.py      4 real ranks, then 256 virtual ones
#     .venv/bin/mpipar sim -n 256 tutorials/05_collectives.py    virtual ranks only

# %%
import numpy as np
from rich.table import Table

import mpipar as mp
from mpipar.comm.collectives import ALGORITHMS

args = mp.arguments(
    "All ranks need a sum. From how many bytes on is the ring faster than recursive doubling?",
    trace="traces/05_collectives",
    virtual=256,
    repeats=20,
)
world = mp.world(trace=args.trace, values=args.values)
screen = mp.view.console(world.rank)
screen.print(args.description, style="dim")
NAMES = ("naive", "binomial", "recursive_doubling", "rabenseifner", "ring")

# %% [markdown]
# The model (`mpipar/comm/network.py`): a message of n bytes takes alpha + n·beta, adding n bytes
# takes n·gamma. Count along the longest chain of messages that wait for one another:
#
#     doubling  log2 p · (alpha + n·beta + n·gamma)                                  p = 2, 4, 8, …
#     ring      2(p-1) · (alpha + n/p·beta)  +  (p-1) · n/p·gamma
#
# Set them equal and solve for n:
#
#                   (2(p-1) - log2 p) · alpha
#     n  =  ─────────────────────────────────────────────────────────
#           log2 p · (beta + gamma)  -  (p-1)/p · (2·beta + gamma)
#
# The same from the formulas that stand beside each algorithm, which also know other p:


# %%
def predicted(name, nbytes, p, net):
    """Seconds of one allreduce of float32."""
    return ALGORITHMS["allreduce"][name].cost(nbytes // 4, p).seconds(4, net)


def crossing(p, net):
    """Bytes from which on the ring is predicted to be faster: both times are lines a + b·n."""
    doubling, ring = (ALGORITHMS["allreduce"][name].cost(p, p) for name in ("recursive_doubling", "ring"))
    messages = ring.rounds - doubling.rounds
    carried, added = doubling.path - ring.path, doubling.reduced - ring.reduced  # for n = p
    return messages * net.alpha / ((carried * net.beta + added * net.gamma) / p)


def sizes_for(p, net):
    """Bytes to try: one number a rank; the crossing, where both should take equally long; more."""
    chunk = round(crossing(p, net) / (4 * p))  # numbers a rank
    return [4 * p, 4 * p * chunk, *([32 * p * chunk] if p <= 16 else [])]


# %% [markdown]
# The measurement: from the start of the last rank to the end of the last, in the fastest of some
# repeats. (The ranks of one host share a clock, and so do virtual ranks.)


# %%
def seconds(comm, name, nbytes, repeats):
    x, best = np.zeros(nbytes // 4, np.float32), float("inf")
    for _ in range(repeats):
        comm.barrier()
        start = comm.wtime()
        comm.allreduce(x, algorithm=name, out=x)
        last_start, last_end = comm.allreduce(np.array([start, comm.wtime()]), "max")
        best = min(best, last_end - last_start)
    return best


def measure(comm, sizes, repeats):
    return {(name, n): seconds(comm, name, n, repeats) for n in sizes for name in NAMES}


def show(ranks, p, net, sizes, found):
    table = Table(title=f"One allreduce on {ranks}", title_justify="left", box=None, pad_edge=False)
    table.add_column("algorithm")
    for n in sizes:
        table.add_column(f"{n:,} B\npredicted", justify="right")
        table.add_column("\nmeasured", justify="right")
    for name in NAMES:
        pairs = [(predicted(name, n, p, net), found[name, n]) for n in sizes]
        table.add_row(name, *(mp.view.readable_time(t) for pair in pairs for t in pair))
    screen.print(table, highlight=False)
    low, high = sizes[0], sizes[-1]
    lead, lag = (found["ring", n] - found["recursive_doubling", n] for n in (low, high))
    measured = "at none of these sizes"
    if lead > 0 and lag < lead / 2:  # where the line through both differences is 0
        measured = f"from {low + (high - low) * lead / (lead - lag):,.0f} bytes on"
    screen.print(f"the ring is faster: predicted from {crossing(p, net):,.0f} bytes on,", end=" ")
    screen.print(f"measured {measured}\n", highlight=False)


# %% [markdown]
# On the ranks that this script was started on. Under `mpipar sim` prediction and measurement
# agree, exactly where p is a power of two. Under mpirun the network is what `mpipar calibrate`
# found on this machine, or else a default from another; ranks share memory, and where they are
# more than the cores, each message waits for a core, too; each is written to the trace. The
# formulas know none of that: expect to be wrong by a factor. What can be right is the order of
# the algorithms, for few bytes and for many.

# %%
p, net = world.size, world.network
if p > 1:
    sizes = sizes_for(p, net)
    repeats = args.repeats if p <= 16 else 1  # virtual ranks take equally long each time
    show(f"{p} ranks", p, net, sizes, measure(world, sizes, repeats))
else:
    screen.print("one rank alone has the sum already: start several, with -n 4")
mp.view.report(world, screen)

# %% [markdown]
# Now on 256 virtual ranks of the same network. Rank 0 runs them all, in its own process and in
# virtual time; the other ranks have nothing left to do. **Predict first: on 64 times as many ranks,
# is the crossing at fewer bytes, at as many, or at more?**

# %%
if args.virtual > p and world.rank == 0:
    sizes = sizes_for(args.virtual, net)
    found = mp.virtual.run(measure, args.virtual, network=net, args=(sizes, 1))[0]
    screen.print()
    show(f"{args.virtual} virtual ranks", args.virtual, net, sizes, found)

# %% [markdown]
# At more: the ring waits for 510 messages, doubling for 8.
#
# Two more things to see. The naive sum of few bytes is faster than its formula, which lets each of
# the p-1 messages to rank 0 wait for the one before: they are under way at the same time. And
# Rabenseifner's algorithm has the ring's bytes with 2·log2 p messages. **Then why does anybody
# use the ring?** (Try 5 ranks: where p is no power of two, it needs two rounds more, with all n
# bytes. And in the ring nobody talks to anybody but two neighbours.)
