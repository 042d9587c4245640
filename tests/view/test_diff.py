"""Two traces: what counts as equal, and the sentence on what differs first."""

import io
import json
import textwrap

import numpy as np
import pytest
from ranks import run_python, run_ranks
from rich.console import Console

from mpipar.arrays import asarray
from mpipar.comm import ANY_SOURCE
from mpipar.comm.virtual import run
from mpipar.errors import TraceError
from mpipar.trace import read
from mpipar.view.diff import compare, print_difference


def numbers(n=1, dtype=np.float64):
    return asarray(np.zeros(n, dtype))


@pytest.fixture
def difference(tmp_path):
    """difference(reference, mine) of two programs: each runs on virtual ranks, 3 unless said otherwise."""

    def of(reference, mine, sizes=(3, 3), values=False, **options):
        for name, program, size in (("a", reference, sizes[0]), ("b", mine, sizes[1])):
            run(program, size, trace=tmp_path / name, values=values)
        return compare(read(tmp_path / "a"), read(tmp_path / "b"), **options)

    return of


def usual(world, n=6, algorithm="ring", dtype=np.float64, op="sum", more=False):
    world.allreduce(numbers(n, dtype), op, algorithm=algorithm)
    if world.rank == 0:
        world.send(numbers(), 1, 5)
    elif world.rank == 1:
        world.recv(numbers(), 0, 5)
    if more:
        world.bcast(numbers(), root=2, algorithm="linear")


def test_a_trace_equals_itself(difference):
    found = difference(usual, usual)
    assert found.equal and found.totals == [] and all(k["missing"] == k["added"] == 0 for k in found.kinds)
    counts = {k["kind"]: (k["reference"], k["mine"], k["reference_bytes"]) for k in found.kinds}
    assert counts["allreduce ring: send"] == (12, 12, 12 * 16) and counts["send"] == (1, 1, 8)


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"n": 9}, "bytes 48 in the reference (test_diff.py:"),
        ({"algorithm": "naive"}, "algorithm ring in the reference"),
        ({"dtype": np.int64}, "dtype float64 in the reference"),
        ({"op": "max"}, "reduction sum in the reference"),
    ],
)
def test_a_call_that_differs_is_named_with_both_lines(difference, changed, said):
    first = difference(usual, lambda world: usual(world, **changed)).first
    first = first.replace("tests/view/", "")
    assert first.startswith("rank 0 calls allreduce ring (48 B of float64, sum): ") and said in first
    assert first.count("test_diff.py:") == 2 and first.endswith("in yours (" + first.rpartition("(")[2])


def test_an_extra_call_at_the_end(difference):
    found = difference(usual, lambda world: usual(world, more=True))
    assert found.rank in (0, 2) and "yours does more than the reference: at " in found.first
    assert "it calls bcast linear (8 B of float64, root 2)" in found.first
    assert {k["kind"]: k["added"] for k in found.kinds if k["added"]} == {
        "bcast linear: calls": 3, "bcast linear: send": 2, "bcast linear: recv": 2,
    }  # fmt: skip
    assert found.totals == [
        {"rank": 2, "reference_messages": 4, "reference_bytes": 64, "mine_messages": 6, "mine_bytes": 80}
    ]
    back = difference(lambda world: usual(world, more=True), usual)
    assert "yours lacks what the reference does at" in back.first


def exchange(first):
    """Rank 1 receives and sends in one order or the other; rank 0 asks before it listens."""

    def program(world):
        if world.rank == 0:
            request = world.isend(numbers(), 1, 1)
            world.recv(numbers(), 1, 2)
            request.wait()
        elif world.rank == 1 and first == "recv":
            world.recv(numbers(), 0, 1)
            world.send(numbers(), 0, 2)
        elif world.rank == 1:
            world.send(numbers(), 0, 2)
            world.recv(numbers(), 0, 1)

    return program


def test_another_order_says_who_does_what_first(difference):
    found = difference(exchange("recv"), exchange("send"))
    assert found.first.startswith(
        "rank 1: the reference receives from rank 0 (8 B of float64, tag 1) first ("
    )
    assert "yours sends to rank 0 (8 B of float64, tag 2) first (" in found.first
    output = io.StringIO()
    print_difference(found, Console(file=output, width=100))
    assert "in another order" in output.getvalue() and max(map(len, output.getvalue().splitlines())) <= 100


def test_a_message_that_is_missing(difference):
    def several(skip):
        def program(world):
            for tag in range(5):
                if tag != skip and world.rank == 0:
                    world.send(numbers(), 1, tag)
                elif tag != skip and world.rank == 1:
                    world.recv(numbers(), 0, tag)

        return program

    found = difference(several(None), several(2))
    assert (
        found.rank == 0
        and "yours lacks" in found.first
        and "it sends to rank 1 (8 B of float64, tag 2)" in found.first
    )
    assert len(found.ranks) == 1 and "it receives from rank 0" in found.ranks[0]


def test_the_logically_first_difference_is_told_first(difference):
    """Rank 1's message to rank 2, at step 2, before rank 2's receive and rank 0's message at step 5."""

    def program(late):
        def body(world):
            tags = (0, 0) if late else (8, 9)
            if world.rank == 0:
                for _ in range(4):
                    world.sendrecv(numbers(), 1, 1)
                world.send(numbers(), 1, tags[0])
            elif world.rank == 1:
                for k in range(4):
                    world.sendrecv(numbers(), 0, 0)
                    if k == 0:
                        world.send(numbers(), 2, tags[1])
                world.recv(numbers(), 0, tags[0])
            else:
                world.recv(numbers(), 1, tags[1])

        return body

    found = difference(program(True), program(False))
    assert found.rank == 1 and "sends to rank 2" in found.first and "tag 0 in the reference" in found.first


def test_what_arrives_in_any_order_is_equal(difference):
    def wildcard(slow):
        def program(world):
            if world.rank == 0:
                for _ in range(2):
                    world.recv(numbers(), ANY_SOURCE)
            else:
                world.pause(world.rank == slow)
                world.send(numbers(), 0)

        return program

    assert difference(wildcard(1), wildcard(2)).equal


def test_a_sendrecv_is_an_isend_and_an_irecv(difference):
    def together(world):
        world.sendrecv(numbers(), (world.rank + 1) % 3, (world.rank - 1) % 3)

    def apart(world):
        requests = [
            world.irecv(numbers(), (world.rank - 1) % 3),
            world.isend(numbers(), (world.rank + 1) % 3),
        ]
        for request in reversed(requests):
            request.wait()

    assert difference(together, apart).equal


def test_a_communicator_is_told_by_its_members(difference):
    def one(world):
        world.split(0)
        world.split(world.rank % 2).barrier()

    def other(world):
        world.split(1)
        world.split(5 + world.rank % 2).barrier()

    def wrong(world):
        world.split(1)
        world.split(int(world.rank == 0)).barrier()

    assert difference(one, other).equal
    assert "comm [0, 2] in the reference" in difference(one, wrong).first


def test_numbers_are_compared_when_asked_for(difference):
    def with_last(last):
        return lambda world: world.allreduce(asarray(np.array([1.0, np.nan, last])), algorithm="ring")

    assert difference(with_last(1), with_last(2), values=True).equal
    assert difference(with_last(1), with_last(1 + 1e-9), values=True, tolerance=1e-5).equal
    found = difference(with_last(1), with_last(2), values=True, tolerance=1e-5)
    assert "the numbers are 1 nan 1 in the reference" in found.first and "1 nan 2 in yours" in found.first
    assert "no numbers were compared" in difference(with_last(1), with_last(2), tolerance=1e-5).notes[0]


def test_scopes_are_compared_when_asked_for(difference):
    def with_step(step):
        def program(world):
            with world.scope("train", step=step):
                world.barrier()

        return program

    assert difference(with_step(1), with_step(2)).equal
    found = difference(with_step(1), with_step(2), scopes=True)
    assert "scope step 1, train in the reference" in found.first


def test_other_numbers_of_ranks(difference):
    found = difference(usual, usual, (2, 3))
    assert found.first == "the reference has 2 ranks, yours 3; run both on as many"


def test_an_incomplete_trace_is_refused(tmp_path):
    run(usual, 3, trace=tmp_path / "t")
    file = tmp_path / "t" / "rank-0002.jsonl"
    file.write_text("".join(file.read_text().splitlines(True)[:-1]))
    trace = read(tmp_path / "t")
    with pytest.raises(TraceError, match=r"is incomplete \(rank 2 did not end in order"):
        compare(trace, trace)
    found = compare(trace, trace, partial=True)
    assert found.equal and len(found.notes) == 2


def test_what_a_killed_rank_began_is_told_apart_from_messages_of_a_user(tmp_path):
    run(usual, 3, trace=tmp_path / "t")
    trace = read(tmp_path / "t")
    trace.ranks[2].events = [e for e in trace.ranks[2].events if e.op != "allreduce"]
    found = compare(read(tmp_path / "t"), trace)
    assert found.rank == 2 and "an unfinished collective: send" in {k["kind"] for k in found.kinds}


def test_mpirun_and_virtual_ranks_agree(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(
        textwrap.dedent("""
        import numpy as np
        import mpipar
        world = mpipar.world()
        half = world.split(world.rank % 2)
        for _ in range(3):
            half.allreduce(np.ones(5))
            world.alltoall(np.ones(6), algorithm="bruck")
            world.allreduce(np.ones(40_000), algorithm="segmented_ring")
        for other in range(world.size - 1):
            if world.rank == 0:
                world.recv(np.ones(1), mpipar.ANY_SOURCE)
            elif world.rank == other + 1:
                world.send(np.ones(1), 0)
        world.scatter(np.ones(7) if world.rank == 0 else None)
    """)
    )
    real = run_ranks(3, [str(script)], MPIPAR_TRACE=str(tmp_path / "real"))
    assert real.returncode == 0, real.stderr
    simulated = run_python(
        ["-m", "mpipar.cli", "sim", "-n", "3", str(script)], MPIPAR_TRACE=str(tmp_path / "sim")
    )
    assert simulated.returncode == 0, simulated.stderr
    command = ["-m", "mpipar.cli", "trace", "diff", str(tmp_path / "real"), str(tmp_path / "sim")]
    found = run_python(command)
    assert (found.returncode, found.stdout[:20]) == (0, "the traces are equal"), found.stdout + found.stderr
    shown = json.loads(run_python([*command, "--json"]).stdout)
    assert shown["equal"] and shown["sizes"] == [3, 3]


def test_status_tells_equal_different_and_mistaken(tmp_path):
    run(usual, 3, trace=tmp_path / "a")
    run(lambda world: usual(world, more=True), 3, trace=tmp_path / "b")
    command = ["-m", "mpipar.cli", "trace", "diff", str(tmp_path / "a")]
    different, mistaken = (run_python([*command, str(tmp_path / name)]) for name in ("b", "none"))
    assert (different.returncode, mistaken.returncode) == (1, 2)
    assert different.stdout.startswith("first difference: rank ")
    assert mistaken.stderr.startswith("mpipar: there is no trace folder")
