# %% [markdown]
# # The ring: a sum that everybody gets, and nobody is the busiest
#
# Four ranks each hold 12 gradients; all need the sum. Through rank 0, that rank receives 36
# numbers and sends 36. **How few can the busiest rank send?** Predict, then run. (The ring: 18.)
#
#     .venv/bin/mpipar run -n 4 tutorials/03_ring_allreduce.py

# %%
import numpy as np

import mpipar as mp

args = mp.arguments(
    "Every rank holds some numbers, and all need the sum. How few numbers can the busiest rank send?",
    trace="traces/03_ring_allreduce",
    numbers=12,
)
world = mp.world(trace=args.trace, values=True)
screen = mp.view.console(world.rank)
screen.print(args.description, style="dim")
p, r, n = world.size, world.rank, args.numbers
if p == 1:
    screen.print("one rank alone has the sum already, and sends nothing: start several, with -n 4")

# %% [markdown]
# If rank r holds 2^r in all places, every sum tells whose numbers are in it: 11 = 8 + 2 + 1 comes
# from ranks 3, 1 and 0.

# %%
x = np.full(n, 2.0**r)

# %% [markdown]
# First through rank 0, as everybody would write it.

# %%
with world.scope("naive"):
    total = x.copy()
    if r == 0:
        part = np.empty_like(x)
        for source in range(1, p):
            total += world.recv(part, source)
        for dest in range(1, p):
            world.send(total, dest)
    else:
        world.send(x, 0)
        world.recv(total, 0)
assert (total == 2.0**p - 1).all()
if p > 1:
    screen.print(f"through rank 0: it sends {(p - 1) * n} numbers, every other rank {n}")

# %% [markdown]
# Now the ring. Cut x into p chunks. p-1 times, send a chunk to the right, receive one from the
# left, and add it to your own: each chunk collects everybody's part on its way round. Then
# p-1 times pass the finished chunks on. Write down what rank 0 sends in the first step, then
# compare with the hops printed below.

# %%
right, left = (r + 1) % p, (r - 1) % p
with world.scope("ring by hand"):
    chunks = np.array_split(x.copy(), p)
    for s in range(p - 1):  # afterwards chunk r+1 is complete here
        chunk, next_chunk = (r - s) % p, (r - s - 1) % p
        part = np.empty_like(chunks[next_chunk])
        chunks[next_chunk] += world.sendrecv(
            chunks[chunk], right, left, tag=chunk, recv_tag=next_chunk, out=part
        )
    for s in range(p - 1):
        chunk, next_chunk = (r - s + 1) % p, (r - s) % p
        world.sendrecv(chunks[chunk], right, left, tag=chunk, recv_tag=next_chunk, out=chunks[next_chunk])
assert (np.concatenate(chunks) == 2.0**p - 1).all()

# %% [markdown]
# The same by the library (`mpipar/comm/collectives/ring.py`), with each hop it made and the numbers
# it carried: 1, 2, 4, 8 are the ranks' own numbers; 15 is the sum of all four. Where p does not
# divide n, some chunks are longer by one, and the rank that sends more of them is the busiest.

# %%
summed = world.allreduce(x, algorithm="ring")
assert (summed == 2.0**p - 1).all()
if world.recorder is not None and p > 1:
    world.recorder.flush()
    world.barrier()
    if r == 0:
        hops = mp.view.hops(mp.trace.read(world.recorder.folder), "allreduce")
        mp.view.print_hops(hops, screen)
        sent = [sum(hop.sent.bytes for hop in hops if hop.sender == rank) // x.itemsize for rank in range(p)]
        screen.print(f"\nin the ring the busiest rank sends {max(sent)} numbers", highlight=False)
        screen.print(f"on average over the ranks it is 2(p-1)/p · {n} = {2 * (p - 1) / p * n:g}")

# %% [markdown]
# How long do they take? A message of n numbers takes alpha + n·beta (tutorial 02). Rank 0 receives
# p-1 messages of n numbers one after the other, and then sends as many: 2(p-1)(alpha + n·beta).
# In the ring all ranks send at once, 2(p-1) times, n/p numbers each: 2(p-1)(alpha + n/p·beta).
# So for large n the ring is p times as fast, and for small n no faster.
#
# **What would you do for p = 1000 and n = 1?** (Both ways wait for 1998 messages, one after the
# other. Exchange with a partner, then with one 2 ranks away, then 4, 8, …, and 11 rounds are
# enough: `mpipar/comm/collectives/doubling.py`. The library takes it for small arrays.)

# %%
mp.view.report(world, screen)
