"""Which algorithm "auto" takes, and the measured network by which it chooses."""

import json

import numpy as np
import pytest
from ranks import ranks, run_python

from mpipar.comm import Network, load_network, save_network
from mpipar.comm.calibrate import calibrate, fit, ranges
from mpipar.comm.collectives import ALGORITHMS, choose, predict
from mpipar.comm.network import SHARED_MEMORY
from mpipar.errors import LaunchError, OptionError

SLOW = Network(alpha=1e-5, beta=1e-9, gamma=1e-10)


def test_auto_takes_the_least_predicted_time():
    for operation in ALGORITHMS:
        for p in (1, 2, 3, 4, 8, 100):
            for n in (0, 1, 1000, 10**7):
                seconds = predict(operation, n, 4, p, SLOW)
                assert choose(operation, "auto", n, 4, p, SLOW) == min(seconds, key=seconds.get)


def test_few_bytes_want_few_rounds_and_many_bytes_short_messages():
    assert choose("allreduce", "auto", 10, 4, 16, SLOW) == "recursive_doubling"
    assert choose("allreduce", "auto", 10**8, 4, 16, SLOW) == "rabenseifner"
    assert choose("allreduce", "auto", 10**8, 4, 15, SLOW) == "ring"  # folding would cost 2n
    assert choose("bcast", "auto", 10, 4, 16, SLOW) == "binomial"
    assert choose("bcast", "auto", 10**8, 4, 16, SLOW) == "chain"
    assert choose("alltoall", "auto", 160, 4, 16, SLOW) == "bruck"
    assert choose("alltoall", "auto", 1600000, 4, 16, SLOW) == "pairwise"


def test_the_ring_is_predicted_as_its_docstring_says():
    n, p = 12000, 4
    seconds = predict("allreduce", n, 4, p, SLOW)["ring"]
    wanted = 2 * (p - 1) * (SLOW.alpha + 4 * n / p * SLOW.beta) + (p - 1) * 4 * n / p * SLOW.gamma
    assert seconds == pytest.approx(wanted)


def test_ranges_tell_where_auto_changes():
    assert ranges("barrier", 4, SLOW) == [(0, "dissemination")]
    (first, small), *_, (last, large) = ranges("allreduce", 15, SLOW)
    assert (first, small, large) == (0, "recursive_doubling", "ring")
    assert choose("allreduce", "auto", last // 4, 4, 15, SLOW) == "ring"
    assert choose("allreduce", "auto", last // 8, 4, 15, SLOW) != "ring"


def test_fit_finds_the_line():
    sizes = np.array([8, 64, 4096, 1 << 20])
    alpha, beta = fit([(int(n), 2e-6 + n * 1e-10) for n in sizes])
    assert (alpha, beta) == (pytest.approx(2e-6), pytest.approx(1e-10))
    alpha, beta = fit([(8, 1e-3), (64, 1e-4), (4096, 1e-5)])  # nonsense: times that fall
    assert alpha > 0 and beta > 0


def test_a_stored_network_is_found_again(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert load_network() == SHARED_MEMORY
    file = save_network(SLOW, host="here")
    assert file == tmp_path / "mpipar" / "network.json"
    assert load_network() == SLOW
    for damaged in ("{", "[]", '{"alpha": 1e-6}', '{"alpha": -1, "beta": 1e-9, "gamma": 1e-9}'):
        file.write_text(damaged)
        with pytest.raises(OptionError, match="run mpipar calibrate, or delete it"):
            load_network()


@ranks(1, 2, 3)
def test_all_ranks_predict_with_the_same_network(world):
    mine = np.array([world.network.alpha, world.network.beta, world.network.gamma])
    assert np.array_equal(world.allreduce(mine, "max"), mine)
    half = world.split(world.rank % 2)
    assert half.network == world.network


@ranks(1, 3)
def test_calibrate_measures_and_all_ranks_agree(world):
    if world.size == 1:
        with pytest.raises(LaunchError, match="start 2 ranks"):
            calibrate(world)
        return
    network, legs = calibrate(world, turns=2)
    mine = np.array([network.alpha, network.beta, network.gamma])
    assert np.array_equal(world.allreduce(mine, "min"), mine) and (mine > 0).all()
    if world.rank < 2:
        assert [t for _, t in legs] == sorted(t for _, t in legs)


def test_the_command_stores_what_it_measured(tmp_path):
    run = run_python(["-m", "mpipar.cli", "calibrate", "--json"], XDG_CONFIG_HOME=str(tmp_path))
    assert run.returncode == 0, run.stderr
    stored = json.loads((tmp_path / "mpipar" / "network.json").read_text())
    assert json.loads(run.stdout)["alpha"] == stored["alpha"]
    assert load_network(tmp_path / "mpipar" / "network.json").beta == stored["beta"]
