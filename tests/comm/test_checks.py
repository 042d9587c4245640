"""Verdicts from ledgers: what is a deadlock, what only looks like one, and what passed by luck."""

import numpy as np
import pytest

from mpipar.comm import ANY_SOURCE, virtual
from mpipar.comm.diagnose import diagnose
from mpipar.comm.ledger import HOPS, RUNS_KEPT, STEPS_KEPT, Channel, Entered, Ledger, Step
from mpipar.comm.mismatch import find_mismatch
from mpipar.comm.replay import would_deadlock
from mpipar.comm.stuck import never_go_on
from mpipar.errors import DeadlockError, VerdictError

SITE = "train.py:7"


def waits(rank, op, peer, tag=0, need=1, nbytes=8, blocked=1.0):
    """The snapshot of a rank that waits in this call."""
    ledger = Ledger(rank)
    if op in ("recv", "poll"):
        ledger.receiving(peer, "world", tag, "d", nbytes, SITE)
    else:
        ledger.sending(peer, "world", tag, "d", nbytes, SITE)
    ledger.enter(op, peer, "world", tag, need, nbytes, -2, 0, 0, SITE)
    return ledger, ledger.snapshot(True, blocked)


def runs(rank):
    return Ledger(rank).snapshot(False)


def test_two_receives_from_each_other_never_end():
    states = {r: waits(r, "recv", 1 - r)[1] for r in (0, 1)}
    assert never_go_on(states, 2, strict=False) == {0, 1}
    verdict = diagnose(states, 2)
    assert (verdict.kind, verdict.cycle, verdict.at_fault) == (
        "receive cycle",
        [0, 1, 0],
        [(0, SITE), (1, SITE)],
    )
    assert "rank 0  waits in recv(source=1, tag=0) at train.py:7" in verdict.text
    assert "remedy: let one of them send first" in verdict.text


def test_a_rank_that_computes_may_help_the_others():
    states = {0: waits(0, "recv", 1)[1], 1: waits(1, "recv", 2)[1], 2: runs(2)}
    assert never_go_on(states, 3, strict=False) == set()


def test_a_rank_of_another_node_may_help():
    assert never_go_on({0: waits(0, "recv", 1)[1]}, 2, strict=False) == set()


def test_a_message_that_is_under_way_is_no_deadlock():
    ledger, _ = waits(1, "recv", 0)
    ledger.sending(0, "world", 0, "d", 8, SITE)  # sent before it waited
    states = {0: waits(0, "recv", 1)[1], 1: ledger.snapshot(True, 1.0)}
    assert never_go_on(states, 2, strict=False) == set()


def test_the_second_message_is_not_the_first():
    ledger, _ = waits(1, "recv", 0)
    ledger.sending(0, "world", 0, "d", 8, SITE)
    states = {0: waits(0, "recv", 1, need=2)[1], 1: ledger.snapshot(True, 1.0)}
    assert never_go_on(states, 2, strict=False) == {0, 1}


@pytest.mark.parametrize(
    ("nbytes", "strict", "blocked", "stuck"),
    [
        (8, False, 9.0, False),  # buffered: whoever is in it is only slow
        (8, True, 0.1, True),
        (30_000, False, 0.1, False),  # perhaps buffered: look again
        (30_000, False, 0.7, True),
        (1 << 20, False, 0.1, True),
    ],
)
def test_a_ring_of_sends(nbytes, strict, blocked, stuck):
    states = {r: waits(r, "send", (r + 1) % 3, nbytes=nbytes, blocked=blocked)[1] for r in range(3)}
    verdict = diagnose(states, 3, strict)
    assert (verdict is not None) == stuck
    assert not stuck or verdict.kind == "send ring"


def test_an_irecv_that_is_posted_lets_a_large_send_go():
    ledger, _ = waits(1, "send", 0, nbytes=1 << 20)
    ledger.receiving(0, "world", 0, "d", 1 << 20, SITE)
    states = {0: waits(0, "send", 1, nbytes=1 << 20)[1], 1: ledger.snapshot(True, 1.0)}
    assert never_go_on(states, 2, strict=False) == set()


def test_any_source_is_helped_by_anybody():
    states = {r: waits(r, "recv", ANY_SOURCE, need=0)[1] for r in range(3)}
    assert diagnose(states, 3).kind == "any-source knot"
    assert diagnose({**states, 2: runs(2)}, 3) is None


def test_a_rank_that_waits_for_a_cycle_is_not_the_cause():
    def program(world):
        if world.rank == 2:
            world.barrier()
        world.recv(np.ones(1), 1 - world.rank)

    verdict = raised(program, 3, DeadlockError)
    assert (verdict.kind, verdict.cycle) == ("receive cycle", [0, 1, 0])


def test_polling_counts_as_waiting_only_after_a_while():
    def polls(rank, blocked):
        return waits(rank, "poll", 1 - rank, blocked=blocked)[1]

    assert never_go_on({r: polls(r, 0.2) for r in (0, 1)}, 2, strict=False) == set()
    assert never_go_on({r: polls(r, 0.8) for r in (0, 1)}, 2, strict=False) == {0, 1}


def test_runs_of_a_channel_remember_what_each_message_was():
    channel = Channel()
    for number in range(1, 3 * RUNS_KEPT):
        channel.posted = number
        channel.note(number, "d" if number % 2 else "f", 8, SITE)
    assert channel.run_of(3 * RUNS_KEPT - 1).dtype == "d" and channel.run_of(3 * RUNS_KEPT - 2).dtype == "f"
    assert len(channel.runs) <= RUNS_KEPT
    assert channel.run_of(1) is None and channel.run_of(10**6) is None


def step(op, peer, number=1, tag=0):
    return Step(op, peer, "world", tag, number, SITE)


@pytest.mark.parametrize(
    ("first", "second", "lucky"),
    [
        (["send", "recv"], ["send", "recv"], True),
        (["send", "recv"], ["recv", "send"], False),
        (["isend", "recv", "wait send"], ["isend", "recv", "wait send"], False),
        (["isend", "wait send", "recv"], ["isend", "wait send", "recv"], True),
        (["irecv", "send", "wait recv"], ["irecv", "send", "wait recv"], False),
        (["irecv", "isend", "wait recv"], ["irecv", "isend", "wait recv"], False),
    ],
)
def test_what_passes_only_because_messages_are_buffered(first, second, lucky):
    verdict = would_deadlock({0: [step(op, 1) for op in first], 1: [step(op, 0) for op in second]})
    assert (verdict is not None) == lucky
    if lucky:
        assert (verdict.kind, verdict.level, verdict.cycle) == ("buffered sends", "warning", [0, 1, 0])


def test_a_barrier_between_send_and_receive():
    barrier = Step("barrier", -1, "world", 0, 1, SITE)
    logs = {0: [step("send", 1), barrier], 1: [barrier, step("recv", 0)]}
    assert would_deadlock(logs, {"world": [0, 1]}).at_fault == [(0, SITE)]
    logs = {0: [step("isend", 1), barrier, step("wait send", 1)], 1: [barrier, step("recv", 0)]}
    assert would_deadlock(logs, {"world": [0, 1]}) is None


def test_beyond_the_end_of_a_cut_log_nothing_is_claimed():
    long = [step("send", 1, number) for number in range(1, STEPS_KEPT + 1)]
    receives = [step("recv", 0, number) for number in range(1, STEPS_KEPT + 1)]
    assert would_deadlock({0: long, 1: receives}) is None
    assert would_deadlock({0: long[:-1], 1: receives}) is None  # rank 0's log is whole: it did not send that
    assert would_deadlock({0: [step("send", 5)]}) is None  # rank 5 is on another node


def test_hops_do_not_count_as_messages_of_the_user():
    def program(world):
        world.allreduce(np.ones(100))
        world.bcast(np.ones(3), root=1)

    virtual.run(program, 4, check="strict")
    ledger = Ledger(0)
    ledger.sending(1, "world", HOPS, "d", 8, "")
    assert ledger.steps == []


def raised(program, size, error=VerdictError, **options):
    with pytest.raises(error) as caught:
        virtual.run(program, size, **{"check": "watch", **options})
    return caught.value.verdict


def test_the_minority_is_at_fault():
    def program(world):
        world.allreduce(np.ones(3), op="max" if world.rank == 2 else "sum")

    verdict = raised(program, 4)
    assert (verdict.kind, [rank for rank, _ in verdict.at_fault]) == ("different ops", [2])


def test_a_collective_that_nobody_joined_is_found_at_the_end():
    def program(world):
        world.barrier()
        if world.rank == 0:
            world.bcast(np.ones(3))

    verdict = raised(program, 3)
    assert (verdict.kind, [rank for rank, _ in verdict.at_fault]) == ("missing collective", [1, 2])


def test_strict_turns_the_warning_into_an_error(capsys):
    def program(world):
        world.send(np.ones(3), 1 - world.rank)
        world.recv(np.ones(3), 1 - world.rank)

    virtual.run(program, 2, check="watch")
    assert "mpipar warning: buffered sends" in capsys.readouterr().err
    assert raised(program, 2, DeadlockError, check="strict").kind == "send ring"


def test_checking_can_be_off():
    def program(world):
        world.send(np.ones(3), 1 - world.rank)  # never received

    virtual.run(program, 2, check="off")
    assert raised(program, 2).kind == "message never received"


def has_entered(rank, *kinds):
    """The snapshot of a rank that has been in these collectives of two ranks."""
    ledger = Ledger(rank)
    book = ledger.book("world", [0, 1])
    for kind in kinds:
        ledger.enter_collective(book, Entered(kind, -1, "", "d", 3, "ring", SITE))
        ledger.leave_collective()
    return ledger.snapshot(False)


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ({0: has_entered(0, "bcast"), 1: has_entered(1)}, [("bcast",), ("barrier",)]),
        ({0: has_entered(0, "bcast")}, [("bcast",), ("barrier",)]),  # rank 1 has written nothing yet
        ({r: has_entered(r, "bcast") for r in (0, 1)}, [("bcast", "bcast"), ("bcast", "barrier")]),
    ],
)
def test_a_collective_is_compared_when_the_last_rank_has_come_to_it(earlier, later):
    compared = {}
    assert find_mismatch(earlier, compared) is None
    verdict = find_mismatch({r: has_entered(r, *later[r]) for r in (0, 1)}, compared)
    assert (verdict.kind, verdict.at_fault) == ("different collectives", [(1, SITE)])


def test_an_irecv_from_anybody_lets_a_large_send_go():
    ledger, _ = waits(1, "send", 0, nbytes=1 << 20)
    ledger.receiving(ANY_SOURCE, "world", 0, "d", 1 << 20, SITE)
    states = {0: waits(0, "send", 1, nbytes=1 << 20)[1], 1: ledger.snapshot(True, 1.0)}
    assert never_go_on(states, 2, strict=False) == set()


def test_a_receive_from_anybody_lets_a_large_send_go():
    ledger, _ = waits(1, "recv", ANY_SOURCE, need=0)
    states = {0: waits(0, "send", 1, nbytes=1 << 20)[1], 1: ledger.snapshot(True, 1.0)}
    assert never_go_on(states, 2, strict=False) == set()


@pytest.mark.parametrize(("nbytes", "stuck"), [(8, set()), (1 << 20, {0, 1})])
def test_a_sendrecv_that_has_received_may_wait_for_who_takes_its_message(nbytes, stuck):
    ledger = Ledger(0)
    ledger.receiving(1, "world", 0, "d", 8, SITE)
    ledger.sending(1, "world", 5, "d", nbytes, SITE)
    ledger.enter("sendrecv", 1, "world", 0, 1, nbytes, 1, 5, 1, SITE)
    other, _ = waits(1, "recv", 0, tag=9)
    other.sending(0, "world", 0, "d", 8, SITE)
    states = {0: ledger.snapshot(True, 1.0), 1: other.snapshot(True, 1.0)}
    assert never_go_on(states, 2, strict=False) == stuck


PART = "world/0:0"  # a communicator of ranks 0 and 1


def waits_for_anybody_of_the_part(rank):
    ledger = Ledger(rank)
    ledger.book(PART, [0, 1])
    ledger.receiving(ANY_SOURCE, PART, 0, "d", 8, SITE)
    ledger.enter("recv", ANY_SOURCE, PART, 0, 0, 8, -2, 0, 0, SITE)
    return ledger


def test_only_members_help_who_waits_for_anybody_of_a_communicator():
    states = {r: waits_for_anybody_of_the_part(r).snapshot(True, 1.0) for r in (0, 1)}
    assert never_go_on({**states, 2: runs(2)}, 3, strict=False) == {0, 1}


def test_a_member_that_has_only_sent_may_help_who_waits_for_anybody():
    member = Ledger(1)
    member.sending(0, PART, 3, "d", 8, SITE)
    states = {0: waits_for_anybody_of_the_part(0).snapshot(True, 1.0), 1: member.snapshot(False)}
    assert never_go_on(states, 2, strict=False) == set()
