"""From a schedule to a program: sends and receives between the actions.

An F that is not the last stage's sends its activations to the next stage, a B or I that is not the
first stage's sends its gradient to the stage before; neighbours on the same rank need no message.

    RECV_F, RECV_B    post an irecv; the F, or B or I, of this stage and micro-batch waits for it
    SEND_F, SEND_B    post an isend, right after the action that made it

A receive is posted one action early, so that a message can arrive while the rank computes. Each
message has a tag of its own, so the order of posts cannot mix messages up.

Nonblocking sends are necessary: in 1F1B a rank that wants to send its activations on meets a
neighbour that wants to send a gradient back. With blocking sends both wait for ever, and
`blocking_cycle` shows where. (Megatron pairs them by hand, PyTorch with batch_isend_irecv.)
"""

from typing import NamedTuple

from mpipar.errors import ScheduleError
from mpipar.schedule.actions import Action, Schedule
from mpipar.schedule.check import check


class Message(NamedTuple):
    """One end of a message: kind SEND_F, RECV_F, SEND_B, RECV_B; stage: the one at this end.

    Prints as `2SEND_F0`: stage 2 sends the activations of micro-batch 0.
    """

    stage: int
    kind: str
    micro: int
    peer: int  # the rank at the other end
    tag: int  # (2·receiving stage + (1 for a gradient))·micros + micro

    def __str__(self) -> str:
        return f"{self.stage}{self.kind}{self.micro}"


Step = Action | Message


def lower(schedule: Schedule, ahead: int = 1) -> list[list[Step]]:
    """A program a rank; receives are posted `ahead` actions before the one that needs them.

    errors: ScheduleError for a schedule that `check` refuses
    """
    check(schedule)
    programs = []
    for row in schedule.rows:
        ends = [messages_of(action, schedule) for action in row]  # what each receives and sends
        program: list[Step] = [m for received, _ in ends[:ahead] for m in received]
        for place, action in enumerate(row):
            soon = [m for received, _ in ends[place + ahead : place + ahead + 1] for m in received]
            program += [*soon, action, *ends[place][1]]
        programs.append(program)
    check_messages(programs)
    return programs


def messages_of(action: Action, schedule: Schedule) -> tuple[list[Message], list[Message]]:
    """What an action receives and what it sends: none or one each."""
    stage, kind, micro = action
    if kind == "W":
        return [], []
    kind, step = ("F", 1) if kind == "F" else ("B", -1)
    rank_of, micros = schedule.rank_of, schedule.micros

    def message(verb: str, other: int, receiver: int) -> list[Message]:
        peer, tag = rank_of.get(other), (2 * receiver + (kind == "B")) * micros + micro
        local = peer is None or peer == rank_of[stage]
        return [] if local else [Message(stage, f"{verb}_{kind}", micro, peer, tag)]

    return message("RECV", stage - step, stage), message("SEND", stage + step, stage + step)


def check_messages(programs: list[list[Step]]) -> None:
    """Every send has one receive with its ranks and tag, and every receive one send.

    errors: ScheduleError with the first that has none
    """
    ends: dict[tuple, list[tuple[int, Message]]] = {}
    for rank, program in enumerate(programs):
        for step in program:
            if isinstance(step, Message):
                sender, receiver = (rank, step.peer) if "SEND" in step.kind else (step.peer, rank)
                ends.setdefault((sender, receiver, step.tag), []).append((rank, step))
    for (sender, receiver, tag), pair in ends.items():
        if sorted(step.kind[:4] for _, step in pair) != ["RECV", "SEND"]:
            rank, step = pair[0]
            raise ScheduleError(
                f"{step} of rank {rank} is no pair of one send and one receive: {len(pair)} ends from rank "
                f"{sender} to rank {receiver} with tag {tag}; lower the schedule again"
            )


def blocking_cycle(schedule: Schedule) -> list[tuple[int, Message]]:
    """Where ranks would wait for each other if each send waited for its receive; empty if nowhere.

    -> (rank, message) of each rank of one circle
    """
    programs = lower(schedule, ahead=0)
    place = [0] * len(programs)
    at = list(range(len(programs)))  # ranks that may go on
    while at:
        rank = at.pop()
        while isinstance(_next(programs, place, rank), Action):
            place[rank] += 1
        step = _next(programs, place, rank)
        if step is None:
            continue
        other = _next(programs, place, step.peer)
        if isinstance(other, Message) and other.tag == step.tag and other.peer == rank:
            place[rank] += 1
            place[step.peer] += 1
            at += [rank, step.peer]
    rank = next((r for r in range(len(programs)) if _next(programs, place, r) is not None), None)
    circle: list[tuple[int, Message]] = []
    while rank is not None and rank not in [r for r, _ in circle]:
        step = _next(programs, place, rank)
        circle.append((rank, step))
        rank = step.peer
    return circle[[r for r, _ in circle].index(rank) :] if circle else []


def _next(programs: list[list[Step]], place: list[int], rank: int) -> Step | None:
    return programs[rank][place[rank]] if place[rank] < len(programs[rank]) else None
