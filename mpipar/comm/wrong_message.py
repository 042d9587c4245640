"""Messages that were received as something else than was sent, or by nobody."""

import numpy as np

from mpipar.comm.ledger import HOPS, Snapshot, States
from mpipar.comm.transport import ANY_SOURCE, ANY_TAG
from mpipar.comm.verdict import Verdict


def find_wrong_message(states: States, failed: bool = False) -> Verdict | None:
    """A received message whose dtype or size is not the receiver's.

    failed: also where the receive has raised, which the program may have caught
    """
    for receiver, state in sorted(states.items()):
        verdict = _blind_receive(state, states) if failed else None
        if verdict is not None:
            return verdict
        for (peer, comm, tag), channel in state.received:
            sender = states.get(peer)
            if sender is None or tag <= HOPS:
                continue
            sent = dict(sender.sent).get((receiver, comm, tag))
            for run in channel.runs if sent else []:
                last = min(channel.done, sent.posted)
                numbers = {run.first, last} if run.first <= last else set()
                for number in numbers if failed else numbers - set(channel.failed):
                    other, mine = sent.run_of(number), channel.run_of(number)
                    if other and mine and (other.dtype, other.nbytes) != (mine.dtype, mine.nbytes):
                        return _wrong_message(peer, other, receiver, mine, tag)
    return None


def _blind_receive(state: Snapshot, states: States) -> Verdict | None:
    """A receive with a wildcard has raised: compare the next message that it could have taken."""
    received = dict(state.received)
    for blind in state.blind:
        for sender in states.values():
            for (dest, comm, tag), channel in sender.sent:
                fits = blind.peer in (sender.rank, ANY_SOURCE) and blind.tag in (tag, ANY_TAG)
                if dest != state.rank or comm != blind.comm or tag <= HOPS or not fits:
                    continue
                mine = received.get((sender.rank, comm, tag))
                run = channel.run_of((mine.posted if mine else 0) + 1)
                if run and (run.dtype, run.nbytes) != (blind.dtype, blind.nbytes):
                    return _wrong_message(sender.rank, run, state.rank, blind, tag)
    return None


def _wrong_message(sender: int, sent, receiver: int, mine, tag: int) -> Verdict:
    kind = "message dtype" if sent.dtype != mine.dtype else "message size"
    lines = [
        f"rank {sender}  sends {sent.nbytes} bytes of {_name(sent.dtype)} (tag {tag}) at {sent.site}",
        f"rank {receiver}  receives {mine.nbytes} bytes of {_name(mine.dtype)} at {mine.site}",
    ]
    return Verdict(kind, [(receiver, mine.site), (sender, sent.site)], lines)


def _name(code: str) -> str:
    return np.dtype(code).name


def find_leftovers(states: States) -> Verdict | None:
    """Messages to or from ranks that have ended, which nobody will receive."""
    for sender, state in sorted(states.items()):
        for (dest, comm, tag), channel in state.sent:
            other = states.get(dest)
            if tag <= HOPS or other is None or other.doing is None or other.doing.op != "gone" or other.blind:
                continue
            mine = dict(other.received).get((sender, comm, tag))
            taken = mine.done if mine else 0
            run = channel.run_of(taken + 1)
            if channel.posted > taken and run is not None:
                what = f"rank {sender}  sent rank {dest} a message with tag {tag} on {comm} at {run.site}"
                lines = [what, f"rank {dest}  has ended without receiving it"]
                return Verdict("message never received", [(sender, run.site)], lines)
    return None
