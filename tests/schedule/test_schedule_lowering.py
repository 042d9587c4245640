"""Lowered programs, run on virtual ranks with real messages."""

import pytest

from mpipar import virtual
from mpipar.arrays import to_host, xp
from mpipar.errors import DeadlockError, ScheduleError
from mpipar.schedule import (
    Action,
    Message,
    Times,
    blocking_cycle,
    build,
    draw_text,
    lower,
    parse,
    peaks,
    timeline,
)
from mpipar.schedule.lowering import check_messages

CASES = [
    ("naive", 3, 2, 1),
    ("gpipe", 3, 4, 1),
    ("1f1b", 1, 3, 1),
    ("1f1b", 2, 1, 1),
    ("1f1b", 4, 6, 1),
    ("interleaved", 2, 4, 2),
    ("interleaved", 3, 6, 3),
    ("zb-h1", 4, 5, 1),
    ("zb-h2", 3, 6, 1),
]


def carry(schedule, blocking):
    """A rank's function: stage s multiplies what it gets by s+2, in both directions; -> {action: value}"""
    programs = lower(schedule, ahead=0 if blocking else 1)
    last = schedule.stages - 1

    def body(world):
        values, posted, sent = {}, {}, []

        def send(x, step):
            if blocking:
                world.send(x, step.peer, tag=step.tag)
            else:
                sent.append(world.isend(x, step.peer, tag=step.tag))

        def receive(step):
            out = xp.zeros(1)
            if blocking:
                world.recv(out, step.peer, tag=step.tag)
            return out, None if blocking else world.irecv(out, step.peer, tag=step.tag)

        def arrived(kind, stage, micro, neighbour):
            if (stage, f"RECV_{kind}", micro) not in posted:
                return values[neighbour, kind, micro]
            out, request = posted.pop((stage, f"RECV_{kind}", micro))
            if request:
                request.wait()
            return out

        for step in programs[world.rank]:
            s, kind, m = step[:3]
            if kind.startswith("RECV"):
                posted[s, kind, m] = receive(step)
            elif kind.startswith("SEND"):
                send(values[s, kind[-1], m], step)
            elif kind == "F":
                values[s, "F", m] = (arrived("F", s, m, s - 1) if s else xp.ones(1) * (m + 1)) * (s + 2)
            elif kind != "W":
                values[s, "B", m] = (arrived("B", s, m, s + 1) if s < last else values[s, "F", m]) * (s + 2)
        for request in sent:
            request.wait()
        assert not posted
        return {key: float(to_host(value)[0]) for key, value in values.items()}

    return body


@pytest.mark.parametrize("case", CASES)
def test_a_program_carries_the_right_values(case):
    schedule = build(*case)
    found = {}
    for values in virtual.run(carry(schedule, blocking=False), schedule.ranks, check="strict"):
        found |= values
    product = 1
    for stage in range(schedule.stages):
        product *= stage + 2
    for micro in range(schedule.micros):
        assert found[schedule.stages - 1, "F", micro] == (micro + 1) * product
        assert found[0, "B", micro] == (micro + 1) * product**2
    assert len(found) == 2 * schedule.stages * schedule.micros


@pytest.mark.parametrize("case", CASES)
def test_blocking_cycle_is_right(case):
    """Strict checking buffers no send, so blocking sends are those of MPI_Ssend."""
    schedule = build(*case)
    cycle = blocking_cycle(schedule)
    if not cycle:
        virtual.run(carry(schedule, blocking=True), schedule.ranks, check="strict")
        return
    assert [message.peer for _, message in cycle] == [rank for rank, _ in [*cycle[1:], cycle[0]]]
    with pytest.raises(DeadlockError):
        virtual.run(carry(schedule, blocking=True), schedule.ranks, check="strict")


def test_blocking_1f1b_deadlocks_and_gpipe_does_not():
    cycle = [(rank, str(message)) for rank, message in blocking_cycle(build("1f1b", 2, 2))]
    assert cycle == [(0, "0SEND_F1"), (1, "1SEND_B0")]
    assert blocking_cycle(build("gpipe", 4, 8)) == blocking_cycle(build("naive", 4, 8)) == []


def test_messages_of_two_ranks_by_hand():
    programs = [" ".join(map(str, program)) for program in lower(build("1f1b", 2, 2))]
    assert programs == [
        "0F0 0SEND_F0 0RECV_B0 0F1 0SEND_F1 0RECV_B1 0B0 0B1",
        "1RECV_F0 1F0 1RECV_F1 1B0 1SEND_B0 1F1 1B1 1SEND_B1",
    ]


def test_neighbours_on_one_rank_send_nothing():
    assert lower(parse("0F0 1F0 1B0 0B0")) == [[*parse("0F0 1F0 1B0 0B0").rows[0]]]
    v = lower(parse("0F0 3F0 3B0 0B0 \n 1F0 2F0 2B0 1B0"), ahead=0)
    assert [str(step) for step in v[1]] == ("1RECV_F0 1F0 2F0 2SEND_F0 2RECV_B0 2B0 1B0 1SEND_B0".split())
    assert all(isinstance(step, (Action, Message)) for step in v[0])


def test_a_rank_may_have_nothing_to_do():
    idle = parse("rank 0: F0 B0 \nrank 1: .")
    assert lower(idle) == [[*idle.rows[0]], []]
    assert draw_text(idle).splitlines()[1:] == ["rank 0  F0 B0", "rank 1  ·  ·"]
    assert timeline(idle, Times(1, 1, 1)).bubble_rate == 0 and peaks(idle) == [1, 0]


def test_each_message_has_a_tag_of_its_own():
    for case in CASES:
        sends = [step for program in lower(build(*case)) for step in program if "SEND" in step.kind]
        assert len({step.tag for step in sends}) == len(sends)
        assert len(sends) == 2 * (build(*case).stages - 1) * case[2] * (case[1] > 1)


def test_a_message_without_its_other_end_is_found():
    programs = lower(build("1f1b", 2, 2))
    programs[1] = [step for step in programs[1] if str(step) != "1RECV_F0"]
    with pytest.raises(
        ScheduleError, match="0SEND_F0 of rank 0 is no pair of one send and one receive: 1 ends"
    ):
        check_messages(programs)


def test_a_wrong_schedule_is_not_lowered():
    with pytest.raises(ScheduleError, match="deadlock"):
        lower(parse("F0 B0 F1 B1 \n F0 F1 B0 B1"))
