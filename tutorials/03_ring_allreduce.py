# %% [markdown]
# # The ring: a sum that everybody gets, and nobody is the busiest
#
# Four ranks each hold 12 gradients; all need the sum. Through rank 0, that rank receives 36
# numbers and sends 36. **How few can the busiest rank send?** Predict, then run. (The ring: 18.)
#
#     mpipar run -n 4 tutorials/03_ring_allreduce.py

# %%
import numpy as np

import mpipar as mp

args = mp.arguments("An allreduce, hop by hop.", trace="traces/03_ring_allreduce", numbers=12)
world = mp.world(trace=args.trace, values=True)
screen = mp.view.console(world.rank)
p, r = world.size, world.rank

# %% [markdown]
# If rank r holds 2^r in all places, every sum tells whose numbers are in it: 11 = 8 + 2 + 1 comes
# from ranks 3, 1 and 0.

# %%
x = np.full(args.numbers, 2.0**r)

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
screen.print(f"through rank 0: it sends {(p - 1) * args.numbers} numbers, the others {args.numbers} each")

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
# The same by the library (`mpipar/comm/collectives/ring.py`, forty lines), with each hop it made
# and the numbers it carried: 1, 2, 4, 8 are the ranks' own numbers; 15 is the sum of all four.

# %%
summed = world.allreduce(x, algorithm="ring")
assert (summed == 2.0**p - 1).all()
if world.recorder is not None:
    world.recorder.flush()
    world.barrier()
    if r == 0:
        hops = mp.view.hops(mp.trace.read(args.trace), "allreduce")
        mp.view.print_hops(hops, screen)
        sent = sum(hop.sent.bytes // 8 for hop in hops if hop.sender == 0)
        screen.print(
            f"\nin the ring rank 0 sends {sent} numbers, like every other rank: 2(p-1)/p · {args.numbers}"
        )

# %% [markdown]
# Both ways are right, and the ring is no longer than the other for large arrays: its time is
# 2(p-1)(alpha + n/p beta), against 2(p-1)(alpha + n beta). **What if p = 1000 and n = 1?**
# (Tutorial 05 answers with 256 ranks.)

# %%
mp.view.report(world, screen)
