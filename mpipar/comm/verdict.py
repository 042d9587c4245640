"""The sentence about a mistake: its class, the ranks at fault, the lines, the cycle, the remedy."""

from dataclasses import dataclass, field

# class -> what to do about it
REMEDIES = {
    "receive cycle": "let one of them send first, or use sendrecv",
    "send ring": "let one of them receive first, use sendrecv, or isend and wait afterwards",
    "buffered sends": "let one of them receive first, or use sendrecv: MPI need not buffer a message",
    "missing collective": "every rank of a communicator has to call its collectives, in the same order",
    "ended rank": "let it send before it ends, or do not wait for it",
    "any-source knot": "somebody has to send before all wait",
    "wrong tag": "use the same tag on both sides, or ANY_TAG",
    "wrong communicator": "send and receive on the same communicator",
    "wrong peer": "name the rank that sends, or let the named one send",
    "different collectives": "call the same collectives in the same order on all ranks",
    "different roots": "give the same root on all ranks",
    "different ops": "give the same op on all ranks",
    "different dtypes": "convert with astype, so that all ranks give one dtype",
    "different counts": "give arrays of one shape on all ranks",
    "different algorithms": "give the same algorithm on all ranks",
    "message dtype": "receive into an array of the sent dtype",
    "message size": "receive into an array of the sent shape",
    "message never received": "receive it, or do not send it",
    "request never completed": "keep the request and call wait() on it",
    "request started twice": "wait for the first request, or receive into another array",
    "buffer changed": "leave the array alone until wait() has returned, or send a copy",
    "message race": "name the source or the tag, if the order matters",
    "rank exited": "let it raise an exception, or end all ranks alike",
    "rank killed": "look for what killed it: out of memory, a scheduler's limit, a crash in native code",
}


@dataclass
class Verdict:
    """What is wrong.

    at_fault: (rank, file:line);   lines: a sentence a rank involved;   cycle: ranks, first = last
    level: "" for an error, "warning " or "note " for what does not end the job
    """

    kind: str
    at_fault: list[tuple[int, str]]
    lines: list[str] = field(default_factory=list)
    cycle: list[int] = field(default_factory=list)
    level: str = ""

    @property
    def text(self) -> str:
        """All of it, to be printed in one piece."""
        blame = ", ".join(f"rank {rank}" + (f" at {site}" if site else "") for rank, site in self.at_fault)
        rows = [f"mpipar{' ' + self.level if self.level else ''}: {self.kind}", f"  at fault: {blame}"]
        rows += [f"  {line}" for line in self.lines]
        if self.cycle:
            rows.append("  " + " → ".join(map(str, self.cycle)))
        if self.kind in REMEDIES:
            rows.append(f"  remedy: {REMEDIES[self.kind]}")
        return "\n".join(rows) + "\n"
