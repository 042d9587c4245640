# %% [markdown]
# # Messages: who waits for whom
#
# Two ranks each have a number and want the other's. Both run the same program:
#
#     world.recv(theirs, other)
#     world.send(mine, other)
#
# **What happens?** And if the two lines change places? Predict before you read on.
#
#     .venv/bin/mpipar run -n 4 tutorials/02_messages.py

# %%
import time

import numpy as np

import mpipar as mp

args = mp.arguments(
    "Two ranks each want the other's number. What happens if both receive first? If both send first?",
    trace="traces/02_messages",
    rounds=200,
    mistake=("none", "receive", "send"),
)
world = mp.world(trace=args.trace, values=args.values)
screen = mp.view.console(world.rank)
screen.print(args.description, style="dim")
right, left = (world.rank + 1) % world.size, (world.rank - 1) % world.size

# %% [markdown]
# Receive first: both wait for a message that nobody has sent, for ever. That is a **deadlock**.
# Send first: it works for small messages, which MPI puts aside ("eager"), and hangs for large
# ones, for which `send` waits until the receiver is ready. Two ways are always right:
# one rank sends first while its partner receives, or `sendrecv`, which does both at once.

# %%
mine, theirs = np.array([10.0 * world.rank]), np.empty(1)
if world.rank % 2 == 0:  # even ranks send first; the last of an odd number has no partner to its right
    if world.rank + 1 < world.size:
        world.send(mine, right)
        world.recv(theirs, right)
else:
    world.recv(theirs, left)
    world.send(mine, left)
screen.print(
    f"rank 0 sent {mine[0]:g} and received {theirs[0]:g}" if world.size > 1 else "alone: nobody to talk to"
)

# %% [markdown]
# Now the mistake, on purpose: on a ring of all ranks (of two, if you start two) each receives from
# its left neighbour, then sends to its right one. **What will mpipar say of it: which ranks, which
# lines, who waits for whom?** Predict, then
#
#     .venv/bin/mpipar run -n 4 tutorials/02_messages.py --mistake receive
#
# MPI alone would wait for ever; here the job ends within a second, with one verdict. Repair the
# three lines below until it runs through. Then try `--mistake send`. That ends well, with a warning:
# 8 bytes are put aside. With `MPIPAR_CHECK=strict` before the command, nothing is put aside.

# %%
if args.mistake == "receive":
    world.recv(theirs, left)
    world.send(mine, right)
if args.mistake == "send":
    world.send(mine, right)
    world.recv(theirs, left)

# %% [markdown]
# `sendrecv` on a ring: everybody sends to the right and receives from the left. After one step
# each rank has its left neighbour's number. **After how many steps does it have its own again?**

# %%
token = np.array([world.rank])
for step in range(1, world.size + 1):
    token = world.sendrecv(token, dest=right, source=left)
    everybody = world.allgather(token)
    screen.print(f"step {step}: ranks hold {everybody.tolist()}", highlight=False)

# %% [markdown]
# What does a message cost? Ranks 0 and 1 throw a message to and fro. **If 8 bytes take 1 µs, do
# 8,000 bytes take 1,000 µs?** A message costs alpha + n·beta: some fixed time and a little for
# each byte (Hockney, 1994). For small n only alpha counts.
#
# What we print is the time that this program sees. It includes the writing down of each message
# for the trace: a few µs, which for small n is not little. Compare with `--trace 0`.

# %%
recorded = "" if world.recorder is None else ", including its entry in the trace"
screen.print(f"\n      bytes   time for one message{recorded}")
for nbytes in (8, 1024, 65536, 1 << 20, 1 << 23):
    ball = np.zeros(nbytes // 8)
    world.barrier()
    best = float("inf")
    for _ in range(max(args.rounds // (1 + nbytes // 65536), 3) if world.size > 1 else 0):
        start = time.perf_counter()
        if world.rank == 0:
            world.send(ball, 1)
            world.recv(ball, 1)
        elif world.rank == 1:
            world.recv(ball, 0)
            world.send(ball, 0)
        best = min(best, (time.perf_counter() - start) / 2)
    screen.print(
        f"{nbytes:>11,}   {mp.view.readable_time(best) if world.size > 1 else '-':>8}", highlight=False
    )

# %% [markdown]
# Every message above was recorded with the line that sent it. Look at a few lines of
# `traces/02_messages/rank-0000.jsonl`, then at the sums:

# %%
mp.view.report(world, screen)
