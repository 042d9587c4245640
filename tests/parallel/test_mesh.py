"""Meshes: coordinates, communicators, and mistakes in their sizes."""

import numpy as np
import pytest
from ranks import ranks

import mpipar as mp
from mpipar.errors import LayoutError, OptionError
from mpipar.parallel import Mesh, parse_mesh
from mpipar.trace import read


@ranks(4)
def test_every_axis_has_a_communicator(world):
    mesh = Mesh(world, dp=2, tp=2, pp=1)
    dp, tp = divmod(world.rank, 2)
    assert mesh.coordinates == {"pp": 0, "dp": dp, "ep": 0, "cp": 0, "tp": tp}
    assert (mesh["dp"].size, mesh["dp"].rank, mesh["tp"].size, mesh["tp"].rank) == (2, dp, 2, tp)
    assert (mesh["pp"].size, mesh["cp"].size, mesh["ep"].size) == (1, 1, 1)
    mine = np.array([world.rank])
    assert mesh["tp"].allgather(mine).tolist() == [2 * dp, 2 * dp + 1]
    assert mesh["dp"].allgather(mine).tolist() == [tp, tp + 2]
    assert mesh["dp,tp"].allgather(mine).tolist() == [0, 1, 2, 3]
    assert mesh["dp,tp"] is mesh["dp,tp"] is mesh["tp, dp"]
    assert mesh["dp,cp"] is mesh["dp"]


@ranks(1, 2, 3)
def test_one_axis_may_have_all_ranks(world):
    for axis in ("dp", "tp", "pp", "cp", "ep"):
        mesh = Mesh(world, **{axis: world.size})
        assert mesh[axis].size == world.size and mesh[axis].rank == world.rank
        assert mesh.rank_at(**mesh.coordinates) == world.rank


def test_order_says_whose_neighbours_are_next_to_each_other():
    def table(world):
        mesh = Mesh(world, dp=2, tp=3, pp=2, order="tp, dp ,pp")
        assert mesh.order == "ep,cp,tp,dp,pp"
        at = mesh.coordinates
        assert world.rank == (at["tp"] * 2 + at["dp"]) * 2 + at["pp"]
        for rank in range(12):
            assert mesh.rank_at(**mesh.coordinates_of(rank)) == rank
        assert mesh.rank_at(tp=0) == world.rank - 4 * at["tp"]
        return mesh["tp"].allgather(np.array([world.rank])).tolist(), str(mesh), mesh.table()

    result = mp.virtual.run(table, 12)
    assert result[5][:2] == ([1, 5, 9], "tp=3 × dp=2 × pp=2")
    assert result[0][2].splitlines()[:3] == [
        "rank  node   tp   dp   pp",
        "   0     0    0    0    0",
        "   1     0    0    0    1",
    ]
    assert len(result[0][2].splitlines()) == 13


def test_axes_have_their_names_in_traces(tmp_path):
    mp.virtual.run(lambda world: Mesh(world, dp=2, tp=2)["tp"].barrier(), 4, trace=tmp_path)
    trace = read(tmp_path)
    groups = {(axis, tuple(trace.groups[comm])) for comm, axis in trace.axes.items()}
    assert groups == {("tp", (0, 1)), ("tp", (2, 3)), ("dp", (0, 2)), ("dp", (1, 3))}


def fails(error, match, **sizes):
    def build(world):
        with pytest.raises(error, match=match):
            Mesh(world, **sizes)

    mp.virtual.run(build, 6)


def test_sizes_that_do_not_fit_name_what_would():
    fails(LayoutError, r"Mesh: dp=2, tp=2 is a mesh of 4 ranks, but there are 6; dp=3 would fit", dp=2, tp=2)
    fails(LayoutError, r"is a mesh of 16 ranks, but there are 6; choose sizes whose product is 6", dp=4, tp=4)
    fails(LayoutError, r"tp=3 is a mesh of 3 ranks, but there are 6; dp=2 would fit, or start 3 ranks", tp=3)
    fails(LayoutError, r"dp=4, tp=3 is a mesh of 12 ranks, but there are 6; dp=2 would fit", dp=4, tp=3)
    fails(LayoutError, r"one rank is a mesh of 1 ranks, but there are 6; dp=6 would fit")
    fails(LayoutError, r"Mesh: sizes dp=0", dp=0)
    fails(
        OptionError,
        r"order 'dp' does not name each axis once .*; write for example dp,tp",
        dp=2,
        tp=3,
        order="dp",
    )
    fails(OptionError, r"order 'dp,xp'", dp=6, order="dp,xp")
    fails(OptionError, r"order 'dp,dp'", dp=6, order="dp,dp")


@ranks(1, virtual=(1, 2))
def test_unknown_coordinates_and_axes_are_named(world):
    mesh = Mesh(world.split(world.rank))
    assert str(mesh) == "one rank" and mesh.table().splitlines() == ["rank  node", "   0     0"]
    with pytest.raises(OptionError, match=r"mesh\['dq'\]: there is no axis 'dq'; choose from pp,dp,ep,cp,tp"):
        mesh["dq"]
    with pytest.raises(OptionError, match=r"rank_at: dp=1 is not in one rank"):
        mesh.rank_at(dp=1)


def test_a_mesh_is_read_from_text():
    assert parse_mesh("dp=2, tp = 4") == {"dp": 2, "tp": 4}
    for text, named in [
        ("dp", "'dp'"),
        ("dp=2,xp=2", "'xp=2'"),
        ("dp=0", "'dp=0'"),
        ("tp=-1", "'tp=-1'"),
        ("", "''"),
    ]:
        with pytest.raises(OptionError, match=f"mesh '{text}': {named} is no axis with its size; write"):
            parse_mesh(text)
    with pytest.raises(OptionError, match="mesh 'dp=2,dp=3': dp has two sizes"):
        parse_mesh("dp=2,dp=3")
