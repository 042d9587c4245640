# %% [markdown]
# # Reading traces: which rank is to blame?
#
# One network is trained three times, A, B and C. All end with the same loss, so no test fails. But
# each has a fault that costs time, and in each the ranks wait. **A rank that waits is seldom the one
# to blame: how do you find the one that is?** Run it without the answers first:
#
#     .venv/bin/mpipar run -n 4 tutorials/06_reading_traces.py --no-answers
#
# It prints the commands that find the faults. Write down for each training: which rank, which line.

# %%
from collections import Counter

import numpy as np

import mpipar as mp
from mpipar.comm.world import is_virtual
from mpipar.tensor import cross_entropy
from mpipar.trace import read
from mpipar.view.calls import call_list
from mpipar.view.waits import LATE_SENDER
from mpipar.view.why import sentences

args = mp.arguments(
    "Three trainings with the same result, each with a fault. Which rank is to blame, at which line?",
    trace="traces/06_reading_traces",
    fault=("all", "none", "slow", "late", "extra"),
    steps=8,
    batch=64,
    seed=0,
    answers=True,
)
world = mp.world(trace=args.trace, values=args.values)
screen = mp.view.console(world.rank)
screen.print(args.description, style="dim")
COMPUTE, LOG = 4e-3, 8e-3  # seconds that a larger network and a log file would take; a pause stands for them

# %% [markdown]
# The faults. **Slow**: one rank computes three times as long. **Late**: one rank reads its log again
# before it sends what rank 0 waits for. **Extra**: somebody wanted to be sure that all weights are
# equal, and broadcasts them after every step. The ranks are drawn by lot.

# %%
lot = np.random.default_rng([args.seed, world.size])  # the same on all ranks
SLOW_RANK = int(lot.integers(world.size))
LATE_RANK = int(lot.integers(1, world.size)) if world.size > 1 else 0


def train(fault):
    """Train anew.   returns: on rank 0, the last loss of rank LATE_RANK"""
    model = mp.nn.MLP([64, 128, 64, 10], seed=args.seed)
    replica = mp.parallel.DataParallel(model, world)
    optimizer = mp.optim.AdamW(model.parameters(), lr=3e-3)
    x, y = mp.data.digits("train")
    loader = mp.data.Loader(x, y, mp.data.DistributedSampler(len(x), world.rank, world.size, args.batch))
    reported = np.zeros(1)
    for step, batch in enumerate([*loader][: args.steps]):
        optimizer.zero_grad()
        with world.scope("forward and backward", step):
            world.pause(3 * COMPUTE if fault == "slow" and world.rank == SLOW_RANK else COMPUTE)
            if len(batch.y):
                loss = cross_entropy(model(mp.Tensor(batch.x)), batch.y)
                loss.backward()
                reported[:] = loss.item()
        replica.average_gradients(batch.share)
        with world.scope("optimizer", step):
            optimizer.step()
        with world.scope("report", step):
            report(reported, fault)
        if fault == "extra":
            with world.scope("weights", step):
                world.bcast(replica.flats[0].data)
    return reported[0]


def report(loss, fault):
    """Every rank writes its log; rank LATE_RANK tells its loss to rank 0."""
    world.pause(LOG)
    if world.rank == LATE_RANK > 0:
        world.pause(LOG if fault == "late" else 0)
        world.send(loss, 0)
    if world.rank == 0 < LATE_RANK:
        world.recv(loss, LATE_RANK)


# %%
FAULTS = {"A": "slow", "B": "late", "C": "extra"}
for name, fault in FAULTS.items():
    start = world.wtime()
    with world.scope(name):
        loss = train(fault if args.fault in ("all", fault) else "none")
    took = mp.view.readable_time(world.wtime() - start)
    screen.print(f"training {name}: {args.steps} steps, last loss {loss:.4f}, {took}", highlight=False)
mp.view.report(world, screen)

# %% [markdown]
# `why` names for each wait the rank that came late, what it did meanwhile, and its line. `steps` shows
# the messages of a step. An **unneeded** call costs hardly any waiting, so `why` is silent about it:
# hold the trace against one without faults, with `diff`, or look for what repeats, with `html`.

# %%
readable = world.rank == 0 < LATE_RANK and world.recorder is not None
if readable:
    folder, healthy = mp.view.readable_path(world.recorder.folder), "traces/healthy"
    how = ["sim" if is_virtual() else "run", "-n", str(world.size), "tutorials/06_reading_traces.py"]
    screen.print("\nFind the faults:")
    for words in (
        ["trace", "why", folder],
        ["trace", "steps", folder, "--step", "1", "--limit", "40"],
        [*how, "--fault", "none", "--trace", healthy],
        ["trace", "diff", healthy, folder],
        ["trace", "html", folder],
    ):
        screen.print(mp.view.own_command(*words), highlight=False, soft_wrap=True)
elif world.size == 1:
    screen.print("alone: nobody to wait for; start several ranks, with -n 4")

# %% [markdown]
# The answers, found by the same analysis. In A, count for whom the ranks waited. In B, only what
# waited for a send: the others waited for rank 0, which waited itself, so blame goes back along the
# chain. In C, count the calls: one operation is there that A does not have.


# %%
def blamed(found, training, cause=None):
    """The rank that the others waited for longest; None where nobody waited."""
    time = Counter()
    for wait in found:
        if wait.event.scope.startswith(f"{training}/") and cause in (None, wait.cause):
            time[wait.culprit] += wait.length
    return time.most_common(1)[0][0] if time else None


def in_steps(calls, training):
    """How often each collective was called in the steps of a training."""
    return Counter(c.operation for c in calls if c.scope.startswith(f"{training}/") and c.step >= 0)


if readable and args.answers and args.fault == "all":
    trace = read(folder)
    waits, calls = mp.view.waits(trace), call_list(trace)
    a, b = blamed(waits, "A"), blamed(waits, "B", LATE_SENDER)
    c = in_steps(calls, "C") - in_steps(calls, "A")
    screen.print(f"\nA: the others wait for rank {a}\nB: rank 0 waits for rank {b} to send", highlight=False)
    screen.print(f"C: unneeded: {', '.join(f'{n} times {call}' for call, n in c.items())}", highlight=False)
    right = (a, b, c) == (SLOW_RANK, LATE_RANK, {"bcast": args.steps})
    screen.print(f"these are the injected faults: {'yes' if right else 'NO'}")
    for sentence in [text for text in sentences(trace) if "to send" in text][:1]:
        screen.print(f"in the words of why: {sentence}", highlight=False)
