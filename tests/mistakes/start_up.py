"""Says when the ranks have started; score.py subtracts that time from the times to a report."""

import sys

import mpipar as mp

world = mp.world()
if world.rank == 0:
    print("mpipar: started", file=sys.stderr, flush=True)
