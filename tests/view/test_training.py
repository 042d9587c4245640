"""Figures of a run: load balance, overlap, steps, speed-up and the bubble of a pipeline."""

import pytest
from made_traces import event, made

from mpipar.arrays import asarray
from mpipar.comm.network import Network
from mpipar.comm.virtual import run
from mpipar.errors import TraceError
from mpipar.trace import read
from mpipar.view.pipeline import bubbles
from mpipar.view.training import activities, load_balance, overlap, run_seconds, speed_up, steps


def test_the_time_of_a_rank_is_computing_or_exposed_and_waiting_is_part_of_that(tmp_path):
    trace = made(
        tmp_path / "t",
        [
            event("scope", 0, 4, scope="a"),
            event("recv", 4, 10, peer=1, tag=0),
            event("memory", 5, 5, bytes=70, algorithm="host"),
            event("memory", 6, 6, bytes=60, algorithm="host"),
        ],
        [
            event("scope", 0, 8, scope="a"),
            event("send", 8, 10, peer=0, tag=0),
            event("memory", 1, 1, bytes=9, algorithm="device"),
        ],
    )
    first, second = activities(trace)
    assert (first.span, first.compute, first.exposed, first.waiting) == (10e6, 4e6, 6e6, 4e6)
    assert (second.span, second.compute, second.exposed, second.waiting) == (10e6, 8e6, 2e6, 0)
    assert (first.peak_memory, second.peak_memory) == ({"host": 70}, {"device": 9})
    assert load_balance([first, second]) == pytest.approx(8 / 6)


def test_overlap_is_the_part_under_way_in_which_the_rank_computed(tmp_path):
    """Under way from 2 to 8 and from 9 to 10; of these 7 ms the rank waits from 6 to 8 and sends from 9."""
    events = [
        event("scope", 0, 1, scope="a"),
        event("irecv", 2, 8, peer=1, tag=0),
        event("isend", 3, 8, peer=1, tag=0),
        event("wait", 6, 8, parent=1),
        event("send", 9, 10, peer=1, tag=1),
    ]
    (activity,) = activities(made(tmp_path / "t", events, size=2))
    assert (activity.under_way, activity.overlapped) == (7e6, 4e6)
    assert overlap([activity]) == pytest.approx(4 / 7)


def test_where_nothing_is_under_way_there_is_no_overlap(tmp_path):
    of_ranks = activities(made(tmp_path / "t", [event("scope", 0, 4, scope="a")]))
    assert overlap(of_ranks) is None and load_balance(of_ranks) == 1.0
    assert overlap([]) is None and load_balance([]) is None


def test_steps_and_their_time(tmp_path):
    events = [event("scope", 10 * k, 10 * k + 8, scope="train", step=k) for k in range(5)]
    trace = made(tmp_path / "t", [event("send", 0, 1, peer=0, tag=0), *events])
    assert steps(trace) == (5, pytest.approx(0.048 / 5))
    assert steps(made(tmp_path / "u", [event("send", 0, 1, peer=0, tag=0)])) == (0, 0.0)


def test_speed_up_by_the_step_or_by_the_whole_run(tmp_path):
    with_steps = [event("scope", 0, 10, scope="train", step=0), event("scope", 10, 20, scope="train", step=1)]
    shorter = [event("scope", 0, 4, scope="train", step=0)]
    plain = [event("scope", 0, 40, scope="a")]
    serial, parallel = made(tmp_path / "s", with_steps), made(tmp_path / "p", shorter, shorter)
    gain = speed_up(parallel, serial)
    assert (gain["compared"], gain["speed_up"], gain["efficiency"]) == ("time a step", 2.5, 1.25)
    gain = speed_up(parallel, made(tmp_path / "w", plain))
    assert (gain["compared"], gain["speed_up"], gain["efficiency"]) == ("whole run", 10.0, 5.0)
    with pytest.raises(TraceError, match="has 2 ranks; record the run with -n 1"):
        speed_up(serial, parallel)
    with pytest.raises(TraceError, match="has no time in it"):
        speed_up(parallel, made(tmp_path / "e", []))
    assert run_seconds(parallel) == 0.004


def gpipe(world, micros, forward, backward, rounds):
    """All forwards, then all backwards; the last stage begins the backward pass."""
    p, r, x = world.size, world.rank, asarray([1.0])
    for step in range(rounds):
        with world.scope("pipeline gpipe", step=step):
            for m in range(micros):
                if r > 0:
                    world.recv(x, r - 1)
                with world.scope(f"{r}F{m}"):
                    world.pause(forward)
                if r < p - 1:
                    world.send(x, r + 1)
            for m in range(micros):
                if r < p - 1:
                    world.recv(x, r + 1)
                with world.scope(f"{r}B{m}"):
                    world.pause(backward)
                if r > 0:
                    world.send(x, r - 1)


@pytest.mark.parametrize(("p", "m"), [(1, 3), (2, 1), (2, 4), (4, 6)])
def test_the_bubble_of_gpipe_is_its_formula(tmp_path, p, m):
    run(gpipe, p, network=Network(0.0, 0.0, 0.0), trace=tmp_path / "t", args=(m, 0.01, 0.02, 3))
    (bubble,) = bubbles(read(tmp_path / "t"))
    assert (bubble.schedule, bubble.stages, bubble.ranks, bubble.micro_batches) == ("gpipe", p, p, m)
    assert bubble.rounds == 3
    assert bubble.formula == (p - 1) / (m + p - 1)
    assert bubble.measured == pytest.approx(bubble.formula, abs=1e-6)


def test_a_late_last_stage_makes_the_bubble_larger_than_the_formula(tmp_path):
    """Waiting inside an action is no work: here the receive is in the action's scope."""

    def program(world):
        x, r = asarray([1.0]), world.rank
        with world.scope(f"{r}F0"):
            if r:
                world.recv(x, 0)
            world.pause(0.01)
        if not r:
            world.send(x, 1)

    run(program, 2, network=Network(0.0, 0.0, 0.0), trace=tmp_path / "t")
    (bubble,) = bubbles(read(tmp_path / "t"))
    assert bubble.measured == pytest.approx(0.5, abs=1e-6) and bubble.formula == 0.5


def test_interleaved_stages_and_schedules_without_a_formula(tmp_path):
    def actions(scope, rank, kind="B"):
        names = [f"{stage}{k}{m}" for stage in (rank, rank + 2) for k in ("F", kind) for m in range(4)]
        return [event("scope", i, i + 1, scope=f"{scope}/{name}") for i, name in enumerate(names)]

    (bubble,) = bubbles(
        made(tmp_path / "i", actions("pipeline interleaved", 0), actions("pipeline interleaved", 1))
    )
    assert bubble.formula == pytest.approx(1 / (2 * 4 + 1)) and bubble.measured == 0.0
    (bubble,) = bubbles(made(tmp_path / "z", actions("pipeline zb-h1", 0), actions("pipeline zb-h1", 1)))
    assert bubble.formula is None
    (bubble,) = bubbles(made(tmp_path / "w", actions("run", 0, "W"), actions("run", 1, "W")))
    assert bubble.formula is None and bubble.schedule == ""
    assert bubbles(made(tmp_path / "n", [event("scope", 0, 1, scope="2F0x")])) == []
