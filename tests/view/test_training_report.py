"""The numbers of a line of progress, against a clock that is known: that of virtual ranks."""

import numpy as np
import pytest

import mpipar as mp
from mpipar.arrays import to_host
from mpipar.comm.network import Link, Topology
from mpipar.parallel.job import Job
from mpipar.parallel.options import Options
from mpipar.view.training_report import Stretch, sizes, train

SLOW = Topology((Link(1.0, 0.0),) * 3, gamma=0.0, ranks_per_socket=1, sockets_per_node=1)


def test_seconds_are_those_in_collectives_and_in_waits_and_not_those_behind_computing():
    def program(world):
        start, x = world.wtime(), np.ones(8)
        world.allreduce(x, algorithm="ring")  # on two ranks two messages, one after the other, 1 s each
        in_the_first, took = world.seconds, world.wtime() - start
        under_way = world.iallreduce(x, algorithm="ring")
        world.pause(0.5)
        under_way.wait()
        return in_the_first, took, world.seconds - in_the_first

    for in_the_first, took, in_the_wait in mp.virtual.run(program, 2, network=SLOW):
        assert in_the_first == pytest.approx(took) == pytest.approx(2.0)
        assert in_the_wait == pytest.approx(1.5)


def test_a_stretch_tells_loss_speed_and_the_share_of_exposed_communication():
    def program(world):
        job = Job(Options(mesh="dp=2", widths="8", algorithm="ring", strategy="flat", steps=4), world)
        stretch, losses = Stretch(job, world), []
        for batch in job.batches():
            loss = job.training.step(batch)
            losses.append(float(to_host(loss)))
            stretch.add(loss)
            world.pause(6.0)
        return losses, stretch.end(), stretch.overall

    (first, told, overall), (second, also_told, _) = mp.virtual.run(program, 2, network=SLOW)
    loss, rate, exposed = told
    assert told == also_told and overall == (rate, exposed)
    assert loss == pytest.approx(sum(first + second) / 4)  # a step's loss is the sum of the ranks' parts
    assert rate == pytest.approx(1 / 8, rel=1e-3) and exposed == pytest.approx(2 / 8, rel=1e-3)


def test_sizes_count_a_shared_number_once():
    def program(world):
        return sizes(Job(Options(mesh="tp=2", widths="8"), world))

    whole = 64 * 8 + 8 + 8 * 10 + 10
    assert mp.virtual.run(program, 2) == [((whole - 10) // 2 + 10, whole)] * 2


def test_one_rank_trains_without_a_word_of_communication(capsys):
    mp.virtual.run(train, 1, args=(Options(steps=3),), trace="")
    printed = capsys.readouterr().out
    assert "step 3/3  loss " in printed and "mesh" not in printed.split("step 3/3")[1].split("layout")[0]
