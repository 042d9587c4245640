"""Checks of ids on a device: no operation waits, and no wrong id is lost."""

import sys

import numpy as np
import pytest
from ranks import run_python, run_ranks

from mpipar.arrays import BACKEND, asarray, deferred, synchronize, to_host
from mpipar.comm.virtual import run
from mpipar.errors import LabelError
from mpipar.optim import SGD
from mpipar.tensor import Tensor, cross_entropy, embedding

pytestmark = pytest.mark.skipif(BACKEND == "numpy", reason="on the host nothing is put off")
counted = pytest.mark.skipif(BACKEND != "fake", reason="only the stand-in counts")


def ids(*numbers):
    return asarray(np.array(numbers))


def weight(rows=5):
    return Tensor(asarray(np.ones((rows, 2), np.float32)), requires_grad=True)


def test_the_error_names_the_value_and_the_line_and_comes_where_the_host_waits():
    y = embedding(ids(1, 7), weight()).sum()
    line = sys._getframe().f_lineno - 1
    with pytest.raises(LabelError, match=r"embedding: id 7 at position \(1,\) is outside 0 … 4") as caught:
        y.item()
    assert f"embedding was called at tests/arrays/test_deferred.py:{line})" in str(caught.value)
    assert y.item() == 4  # told once; a GPU took row 7 mod 5


def test_of_several_the_first_is_told_first_and_the_next_later():
    for number in (3, 8, 9):
        embedding(ids(number), weight())
    for number in (8, 9):
        with pytest.raises(LabelError, match=f"id {number} at position"):
            synchronize()
    synchronize()


def test_a_step_goes_on_with_wrong_ids():
    w = weight()
    loss = cross_entropy(embedding(ids(1, -1, 7), w), ids(0, 2, -7))
    loss.backward()
    SGD([w], lr=0.1).step()
    with pytest.raises(LabelError, match="id -1 at position"):
        synchronize()
    with pytest.raises(LabelError, match="label 2 at position"):
        synchronize()
    assert np.isfinite(to_host(w.data)).all()


def test_the_mean_of_no_rows_is_nan_until_it_is_found():
    loss = cross_entropy(weight(), ids(*[-100] * 5))
    with pytest.raises(LabelError, match="the mean of no rows: none of 5 labels"):
        loss.item()
    assert np.isnan(loss.item())


def test_ids_that_are_written_over_before_the_look():
    given = ids(1, 7)
    embedding(given, weight())
    given[...] = 0
    with pytest.raises(
        LabelError, match="some ids, written over since, were outside 0 … 4, for there are 5 rows"
    ):
        synchronize()


@counted
def test_a_program_that_never_waits_is_told_too():
    from mpipar.arrays.fake import counting

    w, good, wrong = weight(), ids(1), ids(7)
    with counting() as counts:
        for _ in range(deferred.MOST - 1):
            embedding(good, w)
    assert counts["wait"] == 0
    with counting() as counts:
        for _ in range(deferred.MOST):
            embedding(good, w)
    assert counts == {"device to host": 2, "wait": 2}, "one look for half of them"
    with pytest.raises(LabelError, match="id 7"):
        for _ in range(deferred.MOST):
            embedding(wrong, w)
    deferred._here.get()._checks.clear()


@pytest.mark.parametrize("where", ["item", "message", "the end"])
def test_an_error_reaches_the_rank_whose_id_it_is(where):
    reached = []

    def program(world):
        y = embedding(ids(6 * world.rank), weight())
        world.barrier()  # both have put a check off
        if where == "item":
            y.sum().item()
        elif where == "message":
            world.sendrecv(y.data, 1 - world.rank, 1 - world.rank)
        reached.append(world.rank)

    with pytest.raises(LabelError, match="id 6 at position") as caught:
        run(program, 2)
    assert caught.value.rank == 1
    assert reached == {"item": [0], "message": [], "the end": [0, 1]}[where]


@pytest.mark.parametrize(("end", "status"), [("", 0), ("raise ValueError('another')", 1)])
def test_what_nobody_looked_at_is_printed_at_the_end(end, status):
    program = f"""
import numpy as np, mpipar as mp
from mpipar.arrays import asarray
mp.tensor.embedding(asarray(np.array([9])), mp.Tensor(np.ones((5, 2))))
{end}
"""
    finished = run_python(["-c", program], MPIPAR_BACKEND=BACKEND)
    assert finished.returncode == status
    assert finished.stderr.splitlines()[-1].startswith("mpipar: embedding: id 9 at position (0,) is outside")


def test_it_is_printed_when_another_error_ends_the_job():
    program = """
import numpy as np, mpipar as mp
from mpipar.arrays import asarray
world = mp.world()
mp.tensor.embedding(asarray(np.array([9 * world.rank])), mp.Tensor(np.ones((5, 2))))
if world.rank == 1:
    raise ValueError("another")
world.barrier()
"""
    finished = run_ranks(2, ["-c", program], MPIPAR_BACKEND=BACKEND)
    assert finished.returncode not in (0, 124)
    assert "ValueError: another" in finished.stderr
    assert finished.stderr.count("mpipar: embedding: id 9 at position (0,) is outside") == 1
