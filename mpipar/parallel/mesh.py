"""A mesh: every rank has a coordinate on each axis, and a communicator along each.

    dp  data        replicas of the model, each with a part of the batch
    tp  tensor      ranks that share every layer's weights
    pp  pipeline    ranks that have consecutive layers
    cp  context     ranks that share the sequence;   ep  expert: ranks that share the experts

    Mesh(world, dp=2, tp=3)          tp 0   1   2
                                dp 0     0   1   2       rank = 3 dp + tp
                                dp 1     3   4   5

order: the axes from the one whose neighbours lie furthest apart to the one whose neighbours have
    consecutive ranks, which are mostly on one node. tp talks most, in every layer, so it is last
"""

import math
from collections.abc import Mapping

from mpipar.comm import Communicator
from mpipar.errors import LayoutError, OptionError

AXES = ("pp", "dp", "ep", "cp", "tp")  # in the usual order


class Mesh:
    """The ranks of comm as a mesh; an axis that is left out has size 1.

    mesh["tp"]: this rank's communicator along an axis, its ranks in the order of their coordinates;
      mesh["dp,cp"]: along several, made when it is first asked for, so let all ranks ask
    axes: {"pp": 1, "dp": 2, …}, the sizes, in the mesh's order;   order: "pp,dp,ep,cp,tp"
    coordinates: this rank's, {"pp": 0, "dp": 1, …}
    cost: a split an axis of more than one rank
    errors: LayoutError for sizes that are not those of comm; OptionError for an unknown axis or order
    """

    def __init__(
        self,
        comm: Communicator,
        *,
        dp: int = 1,
        tp: int = 1,
        pp: int = 1,
        cp: int = 1,
        ep: int = 1,
        order: str = ",".join(AXES),
    ) -> None:
        sizes = {"dp": dp, "tp": tp, "pp": pp, "cp": cp, "ep": ep}
        self.comm, self.axes = comm, {axis: sizes[axis] for axis in ordered(order, sizes)}
        self.order = ",".join(self.axes)
        _check_sizes(self.axes, comm.size)
        self.coordinates = self.coordinates_of(comm.rank)
        self._along: dict[tuple[str, ...], Communicator] = {}
        for axis, size in self.axes.items():
            if size > 1:
                self._along[axis,] = self._split((axis,))
        self._along[()] = comm if comm.size == 1 else self._split(())

    def __getitem__(self, axes: str) -> Communicator:
        named = [a.strip() for a in axes.split(",")]
        unknown = [a for a in named if a not in self.axes]
        if unknown:
            raise OptionError(f"mesh[{axes!r}]: there is no axis {unknown[0]!r}; choose from {self.order}")
        long = tuple(a for a in self.axes if a in named and self.axes[a] > 1)
        if long not in self._along:
            self._along[long] = self._split(long)
        return self._along[long]

    def coordinates_of(self, rank: int) -> dict[str, int]:
        """Of any rank of comm."""
        found: dict[str, int] = {}
        for axis, size in reversed(self.axes.items()):
            rank, found[axis] = divmod(rank, size)
        return dict(reversed(found.items()))

    def rank_at(self, **coordinates: int) -> int:
        """The rank of comm at these coordinates; on an axis that is not named, at this rank's own.

        errors: OptionError for an axis or a coordinate that the mesh does not have
        """
        for axis, i in coordinates.items():
            if axis not in self.axes or not 0 <= i < self.axes[axis]:
                raise OptionError(f"rank_at: {axis}={i} is not in {self}; coordinates count from 0")
        rank = 0
        for axis, size in self.axes.items():
            rank = rank * size + coordinates.get(axis, self.coordinates[axis])
        return rank

    def table(self) -> str:
        """Rank, node and coordinates of every rank, a line each; axes of size 1 are left out."""
        shown = [axis for axis, size in self.axes.items() if size > 1]
        lines = ["rank  node" + "".join(f"{axis:>5}" for axis in shown)]
        for rank, node in enumerate(self.comm.nodes):
            at = self.coordinates_of(rank)
            lines.append(f"{rank:4}{node:6}" + "".join(f"{at[axis]:5}" for axis in shown))
        return "\n".join(lines)

    def __str__(self) -> str:
        return " × ".join(f"{axis}={size}" for axis, size in self.axes.items() if size > 1) or "one rank"

    def __repr__(self) -> str:
        return f"<Mesh {self}: rank {self.comm.rank} at {self.coordinates}>"

    def _split(self, axes: tuple[str, ...]) -> Communicator:
        """Ranks that differ only on these axes."""
        same = self.rank_at(**dict.fromkeys(axes, 0))
        return self.comm.split(same, self.comm.rank, axis=",".join(axes))


def parse_mesh(text: str) -> dict[str, int]:
    """The sizes in "dp=2,tp=2" as {"dp": 2, "tp": 2}, for Mesh(world, **sizes).   errors: OptionError"""
    sizes: dict[str, int] = {}
    for item in text.split(","):
        axis, equals, number = (part.strip() for part in item.partition("="))
        if axis not in AXES or not equals or not number.isdecimal() or int(number) < 1:
            raise OptionError(
                f"mesh {text!r}: {item.strip()!r} is no axis with its size; write for example dp=2,tp=2, "
                f"with axes from {', '.join(sorted(AXES))} and sizes from 1 on"
            )
        if axis in sizes:
            raise OptionError(f"mesh {text!r}: {axis} has two sizes; give it one")
        sizes[axis] = int(number)
    return sizes


def ordered(order: str, sizes: Mapping[str, int]) -> list[str]:
    """Axes as the user orders them; those of size 1 may be left out, and come first."""
    named = [a.strip() for a in order.split(",")]
    left_out = [a for a in AXES if a not in named]
    lost = [a for a in left_out if sizes[a] > 1]
    if lost or not set(named) <= set(AXES) or len(set(named)) < len(named):
        raise OptionError(
            f"Mesh: order {order!r} does not name each axis once (sizes {_text(sizes)}); "
            f"write for example {','.join(a for a in AXES if sizes[a] > 1) or 'pp,dp,tp'}"
        )
    return left_out + named


def _check_sizes(axes: Mapping[str, int], ranks: int) -> None:
    if min(axes.values()) < 1:
        raise LayoutError(f"Mesh: sizes {_text(axes)}; each is the number of ranks on an axis, 1 or more")
    needed = math.prod(axes.values())
    if needed != ranks:
        raise LayoutError(
            f"Mesh: {_text(axes)} is a mesh of {needed} ranks, but there are {ranks}; "
            f"{_what_fits(axes, ranks)}, or start {needed} ranks"
        )


def _what_fits(axes: Mapping[str, int], ranks: int) -> str:
    for axis in ("dp", "tp", "pp", "cp", "ep"):  # only one size changes
        others = math.prod(axes.values()) // axes[axis]
        if ranks % others == 0:
            return f"{axis}={ranks // others} would fit"
    return f"choose sizes whose product is {ranks}"


def _text(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{axis}={size}" for axis, size in sizes.items() if size != 1) or "one rank"
