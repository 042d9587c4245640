"""A collective of a trace played again, held against hand-made grids and against what it promises."""

import msgspec
import numpy as np
import pytest

from mpipar.arrays import asarray, to_host
from mpipar.comm.collectives import ALGORITHMS
from mpipar.comm.network import Link, Topology
from mpipar.comm.virtual import run
from mpipar.trace import STARTED, read
from mpipar.view import contributions, rerun
from mpipar.view.contributions import Replayer, replay

DRAWN = [
    (op, name) for op, named in ALGORITHMS.items() if op != "barrier" for name in named if name != "shared"
]
ROOTED = ("bcast", "reduce", "gather", "scatter")


def replay_of(folder, program, ranks, number=1, network=None, values=True):
    run(program, ranks, network, trace=folder, values=values)
    return replay(read(folder), number)


def call(world, operation, algorithm, rows=2):
    """One call on rows·p numbers (and one more where blocks may differ), rank r's being r·100 + i."""
    uneven = operation in ("allreduce", "iallreduce", "reduce", "bcast", "scan", "reduce_scatter", "scatter")
    n = rows if operation in ("allgather", "gather") else rows * world.size + uneven
    x = asarray(np.arange(n) + 100.0 * world.rank)
    root = {"root": world.size - 1} if operation in ROOTED else {}
    made = getattr(world, operation)(x, algorithm=algorithm, **root)
    return made.wait() if operation in STARTED else made


@pytest.mark.parametrize("p", [1, 2, 3, 4, 5, 7, 8])
def test_every_algorithm_ends_with_what_the_collective_promises(p, tmp_path):
    """The chunks' numbers, put together, are the results that the ranks really had."""

    def program(world):
        return [call(world, *which) for which in DRAWN]

    results = run(program, p, trace=tmp_path / "t", values=True)
    replayer = Replayer(read(tmp_path / "t"))
    calls = [c for c in replayer.calls if (c.operation, c.bytes) != ("bcast", 128)]  # not a scatter's header
    assert [(c.operation, c.algorithm) for c in calls] == DRAWN
    for k, which in enumerate(calls):
        made = replayer.replay(which.number)
        end, numbers = made.initial, made.initial_values
        if made.frames:
            end, numbers = made.frames[-1].state, made.frames[-1].values
        assert made.note == ""
        for r in range(p):
            wanted = [c for c, goal in enumerate(made.goal[r]) if goal]
            assert [end[r][c] for c in wanted] == [made.goal[r][c] for c in wanted], which.name
            result = results[r][k]
            if result is not None:
                assert [x for c in wanted for x in numbers[r][c]] == to_host(result).tolist(), which.name


def test_what_is_promised():
    """p = 3, rank 1 of: everything, the root's, its own block, the ranks up to it."""
    chunks = [(0, 2), (2, 4), (4, 6)]

    def goal(operation, root=-1):
        return contributions._goal(rerun.Call(operation, "", (6,), 3, root, (0, 1, 2)), chunks)

    assert goal("allreduce") == [[7] * 3] * 3
    assert goal("reduce", 1) == [[0] * 3, [7] * 3, [0] * 3]
    assert goal("reduce_scatter") == goal("alltoall") == [[7, 0, 0], [0, 7, 0], [0, 0, 7]]
    assert goal("scan") == [[1] * 3, [3] * 3, [7] * 3]
    assert goal("bcast", 1) == [[2] * 3] * 3
    assert goal("scatter", 1) == [[2, 0, 0], [0, 2, 0], [0, 0, 2]]
    assert goal("allgather") == [[1, 2, 4]] * 3
    assert goal("gather", 1) == [[0] * 3, [1, 2, 4], [0] * 3]


@pytest.mark.parametrize("p", [2, 3, 4, 6])
def test_a_ring_after_each_step(p, tmp_path):
    """After step s of the reduce-scatter rank r holds in chunk r-s-1 the sum of the s+1 ranks up to it."""
    made = replay_of(tmp_path / "t", lambda world: call(world, "allreduce", "ring"), p)
    assert len(made.frames) == 2 * (p - 1)
    for s in range(1, p):
        frame = made.frames[s - 1]
        for r in range(p):
            for ago in range(1, s + 1):
                assert frame.state[r][(r - ago - 1) % p] == sorted((r - k) % p for k in range(ago + 1))
            untouched = [(r - k) % p for k in range(s + 2, p + 1)]
            assert all(frame.state[r][chunk] == [r] for chunk in untouched)
        assert {(h.tag, h.phase_step, h.phase_steps) for h in frame.hops} == {(c, s, p - 1) for c in range(p)}
        carried = {h.sender: h.carries for h in frame.hops}
        assert carried == {r: [((r - s) % p, sorted((r - k) % p for k in range(s)))] for r in range(p)}
    for s in range(p - 1):  # and then one complete chunk more in each step
        rows = made.frames[p - 1 + s].state
        assert [sum(len(held) == p for held in row) for row in rows] == [s + 2] * p


def test_as_many_ranks_as_a_number_has_bits(tmp_path):
    def program(world):
        world.reduce_scatter(asarray(np.ones(64)), algorithm="recursive_halving")

    made = replay_of(tmp_path / "t", program, 64, values=False)
    assert len(made.frames) == 6 and made.frames[-1].state[63][63] == made.goal[63][63] == [*range(64)]
    assert "65 ranks" in replay_of(tmp_path / "u", program, 65, values=False).note


def test_recursive_doubling_doubles_what_each_rank_has(tmp_path):
    made = replay_of(tmp_path / "t", lambda world: call(world, "allreduce", "recursive_doubling"), 4)
    assert made.chunks == [(0, 9)]
    assert [[row[0] for row in frame.state] for frame in made.frames] == [
        [[0, 1], [0, 1], [2, 3], [2, 3]],
        [[0, 1, 2, 3]] * 4,
    ]
    assert made.frames[0].values[2][0] == [500.0 + 2 * i for i in range(9)]  # 200 + i, and 300 + i


def test_bruck_says_what_its_messages_carry(tmp_path):
    """p = 4: in the round of distance 2 rank 0 passes its own block for 2, and rank 3's for 2."""
    made = replay_of(tmp_path / "t", lambda world: call(world, "alltoall", "bruck"), 4)
    carried = {h.receiver: h.carries for frame in made.frames for h in frame.hops if h.sender == 0}
    assert carried == {1: [(1, [0]), (3, [0])], 2: [(2, [0]), (2, [3])]}


def test_messages_carry_the_numbers_that_were_recorded(tmp_path):
    """Held against the run itself: what a rank sent in a step is what the replay has held before it."""
    made = replay_of(tmp_path / "t", lambda world: call(world, "allreduce", "rabenseifner"), 4)
    before = made.initial_values
    for frame in made.frames:
        for hop in frame.hops:
            held = [x for chunk, _ in hop.carries for x in before[hop.sender][chunk]]
            assert hop.values == held
        before = frame.values


def test_rounding_is_that_of_the_run(tmp_path):
    """In float32 a ring and a tree round differently; each replay ends with the bits of its own run."""

    def program(world, algorithm):
        x = np.random.default_rng(world.rank).standard_normal(7).astype(np.float32)
        return to_host(world.allreduce(asarray(x), algorithm=algorithm)).tolist()

    for algorithm in ("ring", "binomial", "naive"):
        results = run(program, 5, trace=tmp_path / algorithm, values=True, args=(algorithm,))
        made = replay(read(tmp_path / algorithm), 1)
        assert [x for chunk in made.frames[-1].values[0] for x in chunk] == results[0]


def test_a_sub_communicator_is_told_in_ranks_of_the_world(tmp_path):
    def program(world):
        half = world.split(world.rank % 2)
        half.allreduce(asarray(np.ones(2)), algorithm="ring")

    run(program, 4, trace=tmp_path / "t")
    replayer = Replayer(read(tmp_path / "t"))
    assert [(c.name, c.ranks) for c in replayer.calls[1:]] == [
        ("ring_allreduce", [0, 2]),
        ("ring_allreduce", [1, 3]),
    ]
    made = replayer.replay(3)
    assert made.frames[-1].state == [[[1, 3], [1, 3]]] * 2
    assert {(h.sender, h.receiver) for frame in made.frames for h in frame.hops} == {(1, 3), (3, 1)}


def test_nodes_of_a_hierarchical_allreduce_are_told_by_its_messages(tmp_path):
    two_nodes = Topology((Link(1e-6, 1e-9),) * 3, ranks_per_socket=2, sockets_per_node=1)
    made = replay_of(
        tmp_path / "t", lambda world: call(world, "allreduce", "hierarchical"), 4, network=two_nodes
    )
    assert made.note == "" and made.frames[-1].state == made.goal
    assert [row[0] for row in made.frames[0].state] == [[0, 1], [1], [2, 3], [3]]


def test_calls_that_cannot_be_drawn_say_why(tmp_path):
    def program(world):
        world.split(0)
        world.allreduce(np.ones(4), algorithm="shared")
        world.barrier()

    run(program, 3, trace=tmp_path / "t")
    replayer = Replayer(read(tmp_path / "t"))
    notes = [replayer.replay(c.number) for c in replayer.calls]
    assert [len(made.initial) for made in notes] == [0, 0, 0]
    for made, word in zip(notes, ("MPI's own", "shared memory", "empty"), strict=True):
        assert word in made.note
    assert notes[1].frames and notes[2].frames


def test_a_foreign_recording_is_shown_as_it_is(tmp_path):
    run(lambda world: call(world, "allreduce", "ring"), 3, trace=tmp_path / "t")
    trace = read(tmp_path / "t")
    event = [e for e in trace.ranks[1].events if e.op == "send"][1]
    event.bytes += 8
    made = replay(trace, 1)
    assert (
        "message 3 of rank 1 is to rank 2 (tag 2, 24 bytes), in a replay to rank 2 (tag 2, 16 bytes)"
        in made.note
    )
    assert made.initial == [] and len(made.frames) == 4


def test_a_rank_that_is_missing_is_named(tmp_path):
    run(lambda world: call(world, "allreduce", "ring"), 3, trace=tmp_path / "t")
    (tmp_path / "t" / "rank-0001.jsonl").unlink()
    assert "rank 1 left no record" in replay(read(tmp_path / "t"), 1).note


def test_a_large_array_is_replayed_on_fewer_elements(tmp_path, monkeypatch):
    monkeypatch.setattr(rerun, "MOST_BYTES", 10_000)
    made = replay_of(
        tmp_path / "t", lambda world: call(world, "allreduce", "rabenseifner", rows=1000), 5, values=False
    )
    assert "fewer elements" in made.note and made.frames[-1].state == made.goal
    assert made.chunks[-1][1] == 5001


def test_a_mean_is_a_sum_up_to_the_last_step(tmp_path):
    made = replay_of(
        tmp_path / "t", lambda world: world.allreduce(asarray(np.array([world.rank + 1.0])), "mean"), 3
    )
    assert made.frames[-1].values == [[[6.0]]] * 3 and "divides" in made.note


def test_numbers_are_left_out_where_they_were_not_recorded(tmp_path):
    made = replay_of(tmp_path / "t", lambda world: call(world, "allreduce", "ring"), 2, values=False)
    assert made.initial_values is None and made.frames[-1].values is None


def test_numbers_that_json_has_no_word_for(tmp_path):
    made = replay_of(tmp_path / "t", lambda w: w.allreduce(asarray(np.array([np.inf, np.nan]))), 2)
    assert made.frames[-1].values == [[["inf", "nan"]]] * 2
    assert msgspec.json.decode(msgspec.json.encode(made), type=contributions.Replay) == made


def test_calls_have_one_number_whatever_the_clocks_say(tmp_path):
    """Both halves make their first call before either's second, and the world's comes last."""

    def program(world):
        half = world.split(world.rank % 2)
        world.pause(world.rank)
        for _ in range(2):
            half.barrier()
        world.barrier()

    run(program, 4, trace=tmp_path / "t")
    calls = contributions.call_list(read(tmp_path / "t"))
    assert [(c.number, c.ranks) for c in calls] == [
        (1, [0, 1, 2, 3]), (2, [0, 2]), (3, [1, 3]), (4, [0, 2]), (5, [1, 3]), (6, [0, 1, 2, 3]),
    ]  # fmt: skip
