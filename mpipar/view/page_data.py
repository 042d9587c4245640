"""What the page of `mpipar trace html` holds: a trace as columns of numbers and tables of texts.

Events repeat one another, in a training loop all the time; so what they share (operation, communicator,
bytes, call site, scope, …) is a row of a table, `kinds`, and an event is the row's number, the ns since
the event before it began, its length, and how many events earlier its parent stands. That is some 30
bytes an event. Times count from the run's first event; the states of a rank tile its time, so of them
the lengths are enough. Viewer: data.js reads this.
"""

import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import mpipar
from mpipar.cost import busiest_rank_bytes
from mpipar.trace import Event, Trace, pair_messages
from mpipar.view.calls import CallInfo
from mpipar.view.contributions import Replay, Replayer
from mpipar.view.critical_path import critical_path
from mpipar.view.timeline import State, states
from mpipar.view.waits import waits
from mpipar.view.why import sentences

MOST_REPLAYS = 60  # collectives that can be played; the rest are counted
REPLAY_CHARACTERS = 3_000_000  # of JSON, all replays together
LINES_AROUND = 4  # of a source line
FIELDS = (
    "op comm bytes dtype shape algorithm reduction phase site scope micro".split()
)  # of an event, in the order of a row of `kinds`


class Table(dict):
    """value -> its number, in order of first use; list(table) are the values."""

    def __missing__(self, value: Any) -> int:
        number = self[value] = len(self)
        return number


def page_data(trace: Trace) -> dict[str, Any]:
    """Everything the page shows, ready for JSON; ranks that left no file are only named."""
    numbers = sorted(trace.ranks)
    events = {r: sorted(_shown(trace.ranks[r].events), key=lambda e: (e.start, e.seq)) for r in numbers}
    every = [event for of in trace.ranks.values() for event in of.events]
    begin = min((event.start for event in every), default=0)
    first, offset = {}, 0
    for rank in numbers:
        first[rank], offset = offset, offset + len(events[rank])
    place = {(r, e.seq): first[r] + k for r in numbers for k, e in enumerate(events[r])}
    strings, kinds = Table(), Table()
    found = waits(trace)
    tiled = states(trace, found)
    calls, replays = _collectives(trace, place)
    return {
        "program": [str(word) for word in trace.meta.get("program", [])],
        "about": _about(trace),
        "size": trace.size,
        "ranks": numbers,
        "hosts": [of.header.host if (of := trace.ranks[r]).header else "" for r in numbers],
        "problems": trace.remarks,
        "sentences": sentences(trace),
        "end": max((event.end for event in every), default=0) - begin,
        "groups": trace.groups,
        "axes": trace.axes,
        "events": [_columns(events[r], begin, kinds, strings) for r in numbers],
        "memory": [_memory(trace.ranks[r].events, begin) for r in numbers],
        "fields": FIELDS,
        "kinds": list(kinds),
        "pairs": _pairs(trace, place),
        "states": [_states(r, tiled.get(r, []), begin, place, strings) for r in numbers],
        "path": [
            [s.rank, s.start - begin, s.end - begin, strings[s.what]] for s in critical_path(trace, tiled)
        ],
        "calls": calls,
        "replays": replays,
        "strings": list(strings),
        "sources": _sources(trace, {event.site for event in every if event.site}),
    }


def _shown(events: list[Event]) -> Iterable[Event]:
    return (event for event in events if event.op != "memory")


def _about(trace: Trace) -> list[str]:
    """Where and how the run was made, as short texts."""
    of = trace.meta.get
    library = of("library") or of("transport") or ""
    host = f"on {of('host')}" if of("host") else ""
    created = str(of("created") or "")[:16].replace("T", " ")
    return [str(text) for text in (created, library, of("backend"), host) if text]


def _columns(events: list[Event], begin: int, kinds: Table, strings: Table) -> dict[str, Any]:
    index = {event.seq: k for k, event in enumerate(events)}
    columns: dict[str, list[int]] = {
        name: [] for name in ("kind", "start", "length", "peer", "tag", "parent", "step")
    }
    before, step = begin, -1
    for k, event in enumerate(events):
        row = (_cell(getattr(event, field), strings) for field in FIELDS)
        columns["kind"].append(kinds[tuple(row)])
        columns["start"].append(event.start - before)
        columns["length"].append(event.end - event.start)
        columns["peer"].append(event.peer)
        columns["tag"].append(event.tag)
        columns["parent"].append(k - index.get(event.parent, k))  # 0: none
        columns["step"].append(event.step - step)
        before, step = event.start, event.step
    values = {k: event.values for k, event in enumerate(events) if event.values is not None}
    return {**columns, "values": values}


def _cell(value: Any, strings: Table) -> Any:
    return strings[value] if isinstance(value, str) else value


def _memory(events: list[Event], begin: int) -> dict[str, list[list[int]]]:
    """ "host" and "device" -> times and bytes, of one rank."""
    found: dict[str, list[list[int]]] = {}
    for event in sorted((e for e in events if e.op == "memory"), key=lambda e: e.start):
        times, held = found.setdefault(event.algorithm or "host", [[], []])
        times.append(event.start - begin)
        held.append(event.bytes)
    return found


def _pairs(trace: Trace, place: dict) -> list[list[int]]:
    """Sends and their receives, by the time of sending."""
    pairs = sorted(pair_messages(trace), key=lambda pair: pair[1].start)
    sent = [place[sender, event.seq] for sender, event, _, _ in pairs]
    return [sent, [place[receiver, event.seq] for _, _, receiver, event in pairs]]


def _states(rank: int, own: list[State], begin: int, place: dict, strings: Table) -> dict[str, Any]:
    """Lengths and names of the states; of a waiting one also cause, culprit and its event."""
    names, waiting = Table(), {}
    labels = [names[state.kind, strings[state.label]] for state in own]
    for k, state in enumerate(own):
        if (wait := state.wait) is not None:
            other = wait.culprit_event
            late = -1 if other is None else place.get((wait.culprit, other.seq), -1)
            waiting[k] = [wait.cause, wait.culprit, late]
    return {
        "begin": own[0].start - begin if own else 0,
        "length": [state.end - state.start for state in own],
        "name": labels,
        "names": list(names),
        "event": [-1 if s.event is None else place.get((rank, s.event.seq), -1) for s in own],
        "waiting": waiting,
    }


def _collectives(trace: Trace, place: dict) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Calls that look alike, a row each, and the replays of as many of them as there is room for."""
    player, alike = Replayer(trace), defaultdict(list)
    for call in player.calls:
        alike[_likeness(call)].append(call)
    rows, played, room = [], [], REPLAY_CHARACTERS
    for group in alike.values():
        packed = _pack(player.replay(group[0].number)) if len(played) < MOST_REPLAYS else None
        length = len(json.dumps(packed))
        fits = packed is not None and length <= room
        if fits:
            played.append(packed)
            room -= length
        rows.append(_call_row(group, place, len(played) - 1 if fits else -1))
    return rows, {"played": played, "left_out": len(rows) - len(played)}


def _likeness(call: CallInfo) -> tuple:
    numbered = any(event.values is not None for event in call.parts.values())
    return (
        call.operation, call.algorithm, call.comm, call.bytes, call.dtype, call.reduction, call.root,
        call.site, call.number if numbered else 0,
    )  # fmt: skip


def _call_row(group: list[CallInfo], place: dict, replay: int) -> dict[str, Any]:
    call = group[0]
    return {
        "number": call.number,
        "times": len(group),
        "operation": call.operation,
        "algorithm": call.algorithm,
        "comm": call.comm,
        "size": len(call.ranks),
        "bytes": call.bytes,
        "dtype": call.dtype,
        "reduction": call.reduction,
        "root": call.root,
        "site": call.site,
        "scope": call.scope,
        "events": [place[rank, event.seq] for c in group for rank, event in sorted(c.parts.items())],
        "bound": float(busiest_rank_bytes(call.operation, call.bytes, len(call.ranks))),
        "replay": replay,
    }


def _pack(replay: Replay) -> dict[str, Any]:
    """Frames as what changes in them; equal sets of ranks are one row of `sets`."""
    sets, index = Table(), {rank: i for i, rank in enumerate(replay.ranks)}
    before, numbers = replay.initial, replay.initial_values
    frames = []
    for frame in replay.frames:
        changes = [
            [i, c, sets[tuple(held)], None if frame.values is None else frame.values[i][c]]
            for i, row in enumerate(frame.state)
            for c, held in enumerate(row)
            if held != before[i][c] or (frame.values and numbers and frame.values[i][c] != numbers[i][c])
        ]
        hops = [
            [index[h.sender], index[h.receiver], h.tag, h.bytes, h.phase, h.phase_step, h.phase_steps,
             h.end_ns - h.start_ns, [[c, sets[tuple(held)]] for c, held in h.carries], h.values]
            for h in frame.hops
        ]  # fmt: skip
        frames.append({"hops": hops, "changes": changes})
        before, numbers = frame.state or before, frame.values or numbers
    return {
        "ranks": replay.ranks,
        "chunks": replay.chunks,
        "initial": [[sets[tuple(held)] for held in row] for row in replay.initial],
        "values": replay.initial_values,
        "goal": [[sets[tuple(held)] for held in row] for row in replay.goal],
        "frames": frames,
        "note": replay.note,
        "sets": list(sets),
    }


def _sources(trace: Trace, sites: set[str]) -> dict[str, Any]:
    """site -> the lines around it, where its file can be read here; only Python files are."""
    files: dict[str, tuple[list[str], str]] = {}
    found = {}
    for site in sorted(sites):
        name, _, line = site.rpartition(":")
        if not line.isdecimal():
            continue
        if name not in files:
            files[name] = _lines(trace, name)
        lines, note = files[name]
        number = int(line)
        if 1 <= number <= len(lines):
            from_line = max(number - LINES_AROUND, 1)
            found[site] = [from_line, lines[from_line - 1 : number + LINES_AROUND], note]
    return found


def _lines(trace: Trace, name: str) -> tuple[list[str], str]:
    program = Path(str((trace.meta.get("program") or ["."])[0])).parent
    roots = (Path.cwd(), Path(mpipar.__file__).parents[1], program, program.parent)
    for file in (root / name for root in roots):
        # a trace is data of somebody's: it must not make a page of any file that it names
        if file.suffix != ".py" or not file.is_file():
            continue
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        changed = _is_newer(file, trace.meta.get("created"))
        return text.splitlines(), "the file was changed after the run" if changed else ""
    return [], ""


def _is_newer(file: Path, created: Any) -> bool:
    try:
        run = datetime.strptime(str(created), "%Y-%m-%dT%H:%M:%S%z")
    except ValueError:
        return False
    return datetime.fromtimestamp(file.stat().st_mtime, timezone.utc) > run
