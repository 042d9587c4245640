"""Every algorithm's messages, bytes and rounds, counted in its trace, equal its formula."""

import numpy as np
from ranks import ranks
from traced import traced

from mpipar.arrays import asarray
from mpipar.comm.collectives import ALGORITHMS
from mpipar.comm.collectives.hierarchical import members
from mpipar.comm.collectives.shared import ROW
from mpipar.comm.collectives.staged import PIECE
from mpipar.view.rounds import calls

LONG = 16384 * 2 + 5  # elements; several segments
DTYPE = np.int16


def call(comm, operation, algorithm, n, root):
    """One collective of n elements in all."""
    x = np.ones(n, DTYPE)
    part = np.array_split(x, comm.size)[comm.rank].copy()
    if not algorithm.startswith("shared"):
        x, part = asarray(x), asarray(part)
    if operation == "barrier":
        comm.barrier(algorithm)
    elif operation == "iallreduce":
        comm.iallreduce(x, algorithm=algorithm).wait()
    elif operation == "bcast":
        comm.bcast(x, root, algorithm)
    elif operation == "scatter":
        comm.scatter(x if comm.rank == root else None, root, algorithm)
    elif operation == "gather":
        comm.gather(part, root, algorithm, rows=n)
    elif operation == "reduce":
        comm.reduce(x, root=root, algorithm=algorithm)
    elif operation == "allgather":
        comm.allgather(part, algorithm, out=x)
    else:
        getattr(comm, operation)(x, algorithm=algorithm)


def cases(p):
    """(operation, algorithm, n, root): few and many elements, and roots where there are some."""
    for operation, algorithms in ALGORITHMS.items():
        for algorithm in algorithms:
            rooted = operation in ("bcast", "reduce", "gather", "scatter")
            sizes = {0: [0], 1: [0, 3 * p, 5 * p]}.get(operation == "alltoall" or 0, [])
            sizes = sizes if operation == "alltoall" else [0, 1, p + 1, 120 * p]
            sizes = [*sizes, LONG * p] if algorithm in ("chain", "segmented_ring") else sizes
            sizes = [*sizes, ROW + 5] if algorithm.startswith("shared") else sizes
            sizes = [*sizes, 2 * PIECE + 5] if algorithm == "staged_ring" else sizes
            for n in [0] if operation == "barrier" else sizes:
                for root in sorted({0, 1 % p, p - 1}) if rooted else [0]:
                    yield operation, algorithm, n, root


@ranks(1, 2, 3, 4, 5, virtual=(1, 2, 3, 4, 5, 6, 7, 8, 9, 16))
def test_messages_bytes_and_rounds_equal_the_formulas(world):
    p = world.size
    wanted = list(cases(p))
    trace = traced(world, lambda comm: [call(comm, *case) for case in wanted])
    if trace is None:
        return
    # a scatter is announced by a bcast of its own, with 16 numbers
    found = [c for c in calls(trace) if not (c.operation == "bcast" and c.bytes == 128)]
    assert len(found) == len(wanted)
    for got, (operation, algorithm, n, root) in zip(found, wanted, strict=True):
        what = f"{operation} {algorithm} of {n} on {p} ranks, root {root}"
        costs = [ALGORITHMS[operation][algorithm].cost(n, p, r, root) for r in range(p)]
        assert (got.operation, got.algorithm) == (operation, algorithm)
        assert [got.messages[r] for r in range(p)] == [c.messages for c in costs], what
        assert [got.sent[r] for r in range(p)] == [c.sent * 2 for c in costs], what
        assert {got.rounds} == {c.rounds for c in costs}, f"{what}: {got.rounds} {costs[0].rounds}"
        if n % p == 0 and p & (p - 1) == 0:
            assert np.isclose(got.path, costs[0].path * 2), f"{what}: {got.path} {costs[0].path * 2}"


@ranks(1, 2, 3, 4, 5, virtual=(1, 2, 3, 4, 5, 6, 7, 8, 9, 16))
def test_hierarchical_costs_on_several_nodes(world):
    p = world.size
    for nodes in ([r // 2 for r in range(p)], [r % 2 for r in range(p)], [min(r, 1) for r in range(p)]):
        trace = traced(world, lambda comm: call(comm, "allreduce", "hierarchical", 12 * p, 0), nodes)
        if trace is None:
            continue
        (got,) = calls(trace)
        cost = ALGORITHMS["allreduce"]["hierarchical"].cost
        costs = [cost(12 * p, p, r, 0, nodes) for r in range(p)]
        assert [got.messages[r] for r in range(p)] == [c.messages for c in costs]
        assert [got.sent[r] for r in range(p)] == [c.sent * 2 for c in costs]
        assert {got.rounds} == {c.rounds for c in costs}
        assert sorted(r for group in members(nodes) for r in group) == list(range(p))
