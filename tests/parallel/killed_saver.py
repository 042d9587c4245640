"""Saves again and again in a child process, which is killed at a random moment; 50 times.

python killed_saver.py FOLDER: ends with status 0 if after each kill the last checkpoint that the child had
reported, or one saved since, was found whole; prints how many checkpoints were saved, and how many
kills came while one was being written.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np

import mpipar as mp
from mpipar.arrays import to_host
from mpipar.parallel.checkpoint import load, save

FOLDER, KILLS = Path(sys.argv[1]), 50


def parts():
    """A model and an optimizer with a state, whose numbers can all be told from a step."""
    model = mp.nn.Linear(128, 64, seed=0)
    optimizer = mp.optim.AdamW(model.parameters())
    for p in model.parameters():
        p.grad = p.data * 0
    optimizer.step()
    return model, optimizer


def arrays(model, optimizer):
    return [p.data for p in model.parameters()] + list(optimizer._slots[0].values.values())


def save_for_ever(world, first, report):
    model, optimizer = parts()
    step = first
    while True:
        for number, array in enumerate(arrays(model, optimizer)):
            array[...] = 10 * step + number
        for _ in range(2):  # the second time in place of the first
            save(FOLDER, world, model, optimizer, step=step)
            if world.rank == 0:
                os.write(report, step.to_bytes(4, "little"))
        step += 1


def loaded(world):
    model, optimizer = parts()
    step = load(FOLDER, world, model, optimizer).step
    for number, array in enumerate(arrays(model, optimizer)):
        assert np.all(to_host(array) == 10 * step + number), (step, number)
    return step


def main():
    last, saved, during = 0, 0, 0
    for _ in range(KILLS):
        reader, report = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            mp.virtual.run(save_for_ever, 2, args=(last, report))  # begins with the step that is there
        os.close(report)
        told = os.read(reader, 4)
        time.sleep(0.01 * random.random())
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with open(reader, "rb") as rest:
            told += rest.read()
        saved += len(told) // 4
        during += any(path.name.endswith((".writing", ".old")) for path in FOLDER.glob("*step*"))
        told = int.from_bytes(told[-4:], "little")
        step = mp.virtual.run(loaded, 1)[0]
        assert step >= max(told, last), (step, told, last)
        last = step
    print(f"{saved} saved, {during} killed while writing")
    assert saved and during


main()
