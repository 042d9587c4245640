"""Ranks on two hosts: a tutorial, and mistakes whose two sides are on different ones.

The hosts are two network namespaces of this machine, joined by a cable (a veth pair), each with a
host name of its own. Open MPI then sees two nodes, and talks between them over TCP. That takes
root and iproute2; the tests of the hub alone take neither.
"""

import os
import re
import select
import shutil
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from ranks import run_ranks

from mpipar.comm import find_launcher
from mpipar.comm import hub as hub_module
from mpipar.comm.hub import Hub, Spoke
from mpipar.comm.judge import final_snapshot
from mpipar.comm.ledger import Ledger
from mpipar.trace import pair_messages, read

HOSTS = {"mpipar-a": "10.77.31.1", "mpipar-b": "10.77.31.2"}
LIMIT = 20  # s for one run
TUTORIAL = Path(__file__).parents[2] / "tutorials" / "04_data_parallel.py"
# mpirun gives it ssh's arguments: options, the address, the command
AGENT = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
address=$1; shift
case $address in
FIRST) name=mpipar-a ;;
SECOND) name=mpipar-b ;;
esac
exec ip netns exec $name unshare --uts sh -c "hostname $name; $*"
"""
START = """
import time
import numpy as np
import mpipar as mp
world = mp.world()
world.barrier()
if world.rank == 0:
    print("began", time.time(), flush=True)
other = (world.rank + 2) % 4  # on the other host
x = np.ones(4)
"""
FIRST_LINE = START.count("\n") + 1  # of what follows


def ip(*words, check=True):
    return subprocess.run(["ip", *words], check=check, capture_output=True, text=True, timeout=10)


def remove_hosts():
    for name in HOSTS:
        ip("netns", "del", name, check=False)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """run(program, *arguments, **environment) of 2 + 2 ranks, on two hosts."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("network namespaces take root")
    missing = [tool for tool in ("ip", "unshare", "timeout") if shutil.which(tool) is None]
    if missing or find_launcher().family != "openmpi":
        pytest.skip(f"needs {', '.join(missing) or 'Open MPI'}")
    folder = tmp_path_factory.mktemp("hosts")
    remove_hosts()  # a run that was killed left them
    try:
        join_hosts()
        yield lambda *program, **environment: run_on(folder, program, environment)
    finally:
        remove_hosts()


def join_hosts():
    a, b = HOSTS
    try:
        for name in HOSTS:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("link", "add", "cable-a", "netns", a, "type", "veth", "peer", "name", "cable-b", "netns", b)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
    for (name, address), end in zip(HOSTS.items(), ("cable-a", "cable-b"), strict=True):
        ip("-n", name, "addr", "add", f"{address}/24", "dev", end)
        ip("-n", name, "link", "set", end, "up")


def run_on(folder, program, environment):
    """returns: the CompletedProcess, with `lines`: (seconds since 1970, line) of all that was printed"""
    a, first, second = "mpipar-a", *HOSTS.values()
    agent, hostfile = folder / "agent", folder / "hostfile"
    agent.write_text(AGENT.replace("FIRST", first).replace("SECOND", second))
    agent.chmod(0o755)
    hostfile.write_text(f"{first} slots=2\n{second} slots=2\n")
    launcher = find_launcher()
    # four ranks that poll share a few cores here: idle ones have to yield
    mca = {"OMPI_MCA_mpi_yield_when_idle": "1", "PRTE_MCA_plm_ssh_agent": str(agent)}
    command = launcher.command(4, [str(word) for word in program], str(hostfile))
    named = ["sh", "-c", f'hostname {a}; exec "$@"', "sh"]
    run = subprocess.Popen(
        ["timeout", "-k", "5", str(LIMIT), "ip", "netns", "exec", a, "unshare", "--uts", *named, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        env=launcher.environment(**mca, **environment),
    )
    with run:
        run.lines = [(time.time(), line) for line in run.stdout]
    run.text = "".join(line for _, line in run.lines)
    return run


def delay(run):
    """Seconds from the mistake to the verdict."""
    began = float(re.search(r"began ([\d.]+)", run.text)[1])
    return next(when for when, line in run.lines if line.startswith("mpipar: ")) - began


def verdicts(run):
    """(kind, ranks at fault, their lines) of all that was reported."""
    found = re.findall(r"^mpipar: (.+)\n  at fault: (.*)$", run.text, re.M)
    numbers = [
        (kind, re.findall(r"rank (\d+)", fault), re.findall(r":(\d+)", fault)) for kind, fault in found
    ]
    return [(kind, [*map(int, ranks)], [*map(int, lines)]) for kind, ranks, lines in numbers]


@pytest.fixture
def program(tmp_path):
    """What a program does after START, as a file."""

    def write(text):
        path = tmp_path / "program.py"
        path.write_text(START + text)
        return path

    return write


def test_a_tutorial_trains_on_two_hosts_and_its_trace_is_whole(hosts, tmp_path):
    run = hosts(TUTORIAL, "--epochs", 1, "--trace", tmp_path / "trace")
    assert run.returncode == 0 and "mpipar:" not in run.text, run.text
    assert "equal to the serial run: yes" in run.text
    trace = read(tmp_path / "trace")
    assert (trace.size, trace.problems) == (4, [])
    assert [trace.ranks[r].header.host for r in range(4)] == ["mpipar-a", "mpipar-a", "mpipar-b", "mpipar-b"]
    clocks = [trace.ranks[r].clocks for r in range(4)]
    assert clocks[:2] == [[], []]
    for notes in clocks[2:]:  # their clock is this machine's, too
        assert len(notes) == 2  # at the start and at the end
        assert all(2 * abs(note.offset) <= note.round_trip < 1e7 for note in notes)
    sends = [event for _, event in trace.events() if event.op in ("send", "isend")]
    assert len(pair_messages(trace)) == len(sends) > 100


def test_a_receive_cycle_across_hosts(hosts, program):
    run = hosts(program("world.recv(x, other, tag=7)\nworld.send(x, other, tag=7)\n"))
    assert verdicts(run) == [("receive cycle", [0, 2], [FIRST_LINE, FIRST_LINE])], run.text
    assert "  0 → 2 → 0\n" in run.text
    assert run.returncode != 0 and delay(run) < 5


def test_a_rank_on_the_other_host_leaves_a_collective_out(hosts, program):
    run = hosts(program("if world.rank != 3:\n    world.allreduce(x)\nelse:\n    world.recv(x, 0)\n"))
    assert verdicts(run) == [("missing collective", [3], [FIRST_LINE + 3])], run.text
    assert run.returncode != 0 and delay(run) < 5


def test_ranks_are_watched_when_rank_0_has_ended(hosts, program):
    run = hosts(program("if world.rank in (1, 2):\n    world.recv(x, 3 - world.rank)\n"))
    assert verdicts(run) == [("receive cycle", [1, 2], [FIRST_LINE + 1] * 2)], run.text
    assert run.returncode != 0 and delay(run) < 5


def test_a_slow_rank_is_not_reported_and_a_message_that_is_never_received_is(hosts, program):
    slow = "time.sleep(2.6 * (world.rank == 3))\nworld.allreduce(x)\nworld.sendrecv(x, other, other)\n"
    run = hosts(program(slow + "if world.rank == 0:\n    world.send(x, 3)\n"))
    assert verdicts(run) == [("message never received", [0], [FIRST_LINE + 4])], run.text
    assert delay(run) > 2.6


# ---- the hub alone, in this process
NODES = [0, 0, 2, 2]  # for every rank the first of its node


@pytest.fixture
def hub():
    """Served by a thread, as by the watch's; `said` is what it was asked to print."""
    hub, stop = Hub(NODES), threading.Event()
    hub.said = {}

    def say_once(name, text):
        return hub.said.setdefault(name, text) is text

    def serve():
        while not stop.is_set():
            select.select([hub], [], [], 0.02)
            hub.serve(say_once, lambda: {0: Ledger(0).snapshot(False)})

    thread = threading.Thread(target=serve)
    thread.start()
    yield hub
    stop.set()
    thread.join()


def ended(rank):
    return final_snapshot(Ledger(rank))


def test_the_hub_knows_what_a_node_has_told_and_who_may_print(hub):
    spoke = Spoke(hub.meeting, 2)
    assert spoke.report({2: Ledger(2).snapshot(False), 3: ended(3)})
    assert set(hub.states()) == {2, 3} and hub.states()[3].gone and hub.heard_since(0)
    assert set(Spoke(hub.meeting, 0).states()) == {0, 2, 3}
    assert spoke.say_once("verdict", "once")
    assert not Spoke(hub.meeting, 2).say_once("verdict", "again")
    assert hub.said == {"verdict": "once"}


def test_ranks_of_a_node_that_is_no_longer_heard_may_go_on(hub, monkeypatch):
    assert Spoke(hub.meeting, 2).tell({2: Ledger(2).snapshot(False), 3: ended(3)})
    monkeypatch.setattr(hub_module, "SILENT", 0.0)
    monkeypatch.setattr(hub_module, "AWAY", 0.0)
    assert set(hub.states()) == {3}  # what has ended stays so
    until = time.monotonic() + 5
    while hub.in_reach(2) and time.monotonic() < until:  # the Spoke above is no more
        time.sleep(0.01)
    assert not hub.in_reach(2)


def test_without_a_hub_a_node_watches_itself_and_prints(capfd):
    hub = Hub(NODES)
    hub.close()
    spoke = Spoke(hub.meeting, 2)
    began = time.monotonic()
    assert not spoke.report({2: ended(2)}) and not spoke.tell({2: ended(2)}) and spoke.states() == {}
    assert spoke.say_once("verdict", "")
    assert time.monotonic() - began < 1


def test_strangers_are_shown_out(hub):
    meeting = msgspec.msgpack.decode(hub.meeting, type=hub_module.Meeting)
    for letter in (b"GET / HTTP/1.1\r\n\r\n", hub_module.framed(hub_module.Word("ask", "a wrong token"))):
        with socket.create_connection((meeting.hosts[0], meeting.port), 5) as line:
            line.sendall(letter)
            with suppress(ConnectionResetError):
                assert line.recv(1) == b""
    assert Spoke(hub.meeting, 2).tell({})


def test_ranks_with_other_settings_are_told_so(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import os\nif os.environ['OMPI_COMM_WORLD_RANK'] == '1':\n    os.environ['MPIPAR_CHECK'] = 'off'\n"
        "import mpipar\nmpipar.world()\n"
    )
    run = run_ranks(2, [str(program)])
    assert run.returncode != 0
    assert "rank 1 has MPIPAR_CHECK=off, no trace, and rank 0 has MPIPAR_CHECK=watch" in run.stderr
