"""A collective call as what was sent and held in each logical step: the data of a replay."""

import msgspec

Row = list[list[int]]  # chunk -> world ranks, sorted
Values = list[list[list[float | str] | None]]  # rank -> chunk -> numbers


class FrameHop(msgspec.Struct):
    """One message of the call.   carries: (chunk, contributing ranks) of each chunk in it"""

    sender: int  # ranks of the world
    receiver: int
    tag: int
    bytes: int
    phase: str
    phase_step: int  # which step of the phase, from 1, of so many:
    phase_steps: int
    start_ns: int  # the send's post, and the end of the receive
    end_ns: int
    carries: list[tuple[int, list[int]]]
    values: list[float | str] | None  # as recorded


class Frame(msgspec.Struct):
    """One logical step: its messages, and what every rank holds after it.

    index: from 1;   state[i][c]: contributions in chunk c on ranks[i];   values: its numbers
    """

    index: int
    hops: list[FrameHop]
    state: list[Row]
    values: Values | None


class Replay(msgspec.Struct):
    """A call and its frames.   `initial` and `state` are empty where `note` says why nothing is drawn;
    beside a drawing `note` says what to know about it.

    chunks: (start, stop) in elements of the whole array;   goal[i][c]: what ranks[i] is to hold
    at the end, [] where nothing is promised;   root, ranks: of the world
    """

    number: int
    operation: str
    algorithm: str
    comm: str
    ranks: list[int]
    root: int
    reduction: str
    dtype: str
    bytes: int
    site: str
    step: int  # of the training
    chunks: list[tuple[int, int]]
    goal: list[Row]
    initial: list[Row]
    initial_values: Values | None
    frames: list[Frame]
    note: str = ""
