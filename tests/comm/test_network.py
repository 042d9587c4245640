"""Topologies: placement, links, and what a network file may say."""

import pytest

from mpipar.comm.network import SHARED_MEMORY, Link, Network, Topology, load_topology, one_node
from mpipar.errors import OptionError

FILE = """
ranks_per_socket = 2
sockets_per_node = 2
eager_limit = 100
gamma = 1e-10
[socket]
alpha = 1e-6
beta = 1e-9
[node]
alpha = 2e-6
beta = 2e-9
overhead = 1e-7
[cluster]
alpha = 3
beta = 4
"""


def load(tmp_path, text):
    file = tmp_path / "net.toml"
    file.write_text(text)
    return load_topology(file)


def test_ranks_fill_sockets_and_sockets_fill_nodes(tmp_path):
    topology = load(tmp_path, FILE)
    assert [topology.place(rank) for rank in (0, 1, 2, 3, 4, 9)] == [
        (0, 0), (0, 0), (0, 1), (0, 1), (1, 2), (2, 4),
    ]  # fmt: skip
    assert topology.link(0, 1) == Link(1e-6, 1e-9)
    assert topology.link(1, 2) == Link(2e-6, 2e-9, 1e-7)
    assert topology.link(3, 4) == Link(3, 4)
    assert topology.eager_limit == 100


def test_algorithms_are_chosen_by_the_slowest_link(tmp_path):
    topology = load(tmp_path, FILE)
    assert topology.network(2) == Network(1e-6, 1e-9, 1e-10)
    assert topology.network(4) == Network(2e-6 + 2e-7, 2e-9, 1e-10)
    assert topology.network(5) == Network(3, 4, 1e-10)


def test_by_default_all_ranks_are_on_one_node(tmp_path):
    assert one_node().network(1000) == SHARED_MEMORY
    assert load(tmp_path, "") == one_node()
    only_cluster = load(tmp_path, "ranks_per_socket = 1\nsockets_per_node = 1\n[cluster]\nalpha=1\nbeta=2\n")
    assert only_cluster.link(0, 1) == Link(1, 2)
    assert only_cluster.link(0, 0) == one_node().link(0, 1)


def test_a_missing_link_is_named_before_anything_runs():
    topology = Topology((Link(1, 1),), ranks_per_socket=2, sockets_per_node=1)
    with pytest.raises(OptionError, match=r"ranks 0 and 3 are joined by the cluster, but .* no \[cluster\]"):
        topology.network(4)


@pytest.mark.parametrize(
    "text, says",
    [
        ("alpha = 1", "alpha is unknown; choose from cluster, eager_limit, gamma, node"),
        ("[socket]\nalpha = 1", r"\[socket\]: a link needs alpha = seconds and beta"),
        (
            "[socket]\nalpha = 1\nbeta = 1\nlatency = 2",
            "latency is unknown; choose from alpha, beta",
        ),
        ("[socket]\nalpha = -1\nbeta = 1", "alpha = -1 must be seconds from 0 on"),
        ("[socket]\nalpha = nan\nbeta = 1", "alpha = nan must be seconds"),
        ("[socket]\nalpha = '1'\nbeta = 1", "alpha = '1' must be seconds"),
        ("eager_limit = 1.5", "eager_limit = 1.5 must be a whole number from 0 on"),
        ("ranks_per_socket = 0", "ranks_per_socket = 0 must be a whole number from 1 on"),
        ("sockets_per_node = 2", "sockets_per_node needs ranks_per_socket"),
        ("socket = 3", r"\[socket\]: a link needs alpha"),
        ("alpha", "is no TOML"),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path, text, says):
    with pytest.raises(OptionError, match=says):
        load(tmp_path, text)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(OptionError, match="No such file or directory; name a TOML file"):
        load_topology(tmp_path / "none.toml")
