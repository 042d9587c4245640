"""Parameters of the serial twin that a layout has nowhere, or on several stages."""

from mpipar.errors import LayoutError
from mpipar.parallel.agree import gathered
from mpipar.parallel.training import Training


def misplaced(layout: Training, mine: list[str], right: list[str]) -> tuple[str, tuple[int, ...], str] | None:
    """(name, ranks, what is wrong) of the first in the twin's order; None where all is well.   Collective

    mine, right: names of this rank's parameters, and of the twin's
    errors: LayoutError for names of others, or without a pipeline for missing ones
    """
    comm = layout.mesh.comm
    homes: dict[str, dict[int, int]] = {}  # name -> rank -> its place on pp
    for rank, (place, names) in enumerate(gathered(comm, [layout.mesh.coordinates["pp"], mine])):
        for name in names:
            homes.setdefault(name, {})[rank] = place
    others = homes.keys() - set(right) if layout.pipeline else homes.keys() ^ set(right)
    if others:
        raise LayoutError(
            f"certify: only one of the layout and its serial twin has {', '.join(sorted(others)[:3])}; "
            "give both the same names"
        )
    for name in right:
        places = sorted(set(homes.get(name, {}).values()))
        if len(places) != 1:
            have = f"pp ranks {' and '.join(map(str, places))} have it" if places else "no pp rank has it"
            return name, tuple(homes.get(name, range(comm.size))), f"{have}: they cut the layers differently"
    return None
