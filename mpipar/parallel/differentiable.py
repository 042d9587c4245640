"""Messages as tensor operations, each named by what it does forward and backward.

The values of all p ranks, one below the other, are one long vector; a message is a matrix A that
maps it, and backward multiplies by Aᵀ. A forward collective alone does not tell A: it depends on
whether the result is meant as p copies, each used in its own way, or as one value that all ranks
have and use alike. So each operation names both passes:

    operation                          x                    y
    copy_fwd_allreduce_bwd             one value            p copies          [1]
    allreduce_fwd_copy_bwd             p terms              one value         [1]
    slice_fwd_allgather_bwd            one value            p blocks          [1]
    allgather_fwd_slice_bwd            p blocks             one value         [1]
    allgather_fwd_reducescatter_bwd    p blocks             p copies          [2]
    reducescatter_fwd_allgather_bwd    p terms              p blocks          [2]
    alltoall_fwd_alltoall_bwd          p times p blocks     p times p blocks
    send_fwd_recv_bwd with
    recv_fwd_send_bwd                  at one rank          at another

[1] f and g of Megatron-LM, and with them cut and joined: Shoeybi et al. 2019
[2] g and ḡ of sequence parallelism: Korthikanti et al. 2022
Where a value is one, all ranks hold it and its whole gradient, equal; where there are copies,
blocks or terms, each rank its own. Below I is the identity on one value, C_r the rows of it that
cut block r out of an array; C = [C_0; …; C_(p-1)] cuts, and Cᵀ, its inverse, joins the blocks.

dim: blocks are equal and lie along it; where it is not the first, one copy makes them contiguous
order: `backward` hears operations in the reverse of the order in which the program computed them,
  and not as they become ready, so ranks that ran one program send their backward messages in one
  order, too. Nothing is sent back to a tensor that asks for no gradient: let it be so on all ranks
cost: forward and backward that of their collectives; nothing on one rank
errors: LayoutError for a size that the ranks cannot share
"""

from typing import Any

from mpipar.arrays import xp
from mpipar.comm import Communicator
from mpipar.errors import LayoutError
from mpipar.tensor import Tensor
from mpipar.tensor.checks import check_dim, check_tensors


def copy_fwd_allreduce_bwd(x: Tensor, comm: Communicator) -> Tensor:
    """y_r = x;   dx = Σ_r dy_r.   A = [I; …; I],  Aᵀ = [I … I].   Each rank uses x in its own way."""
    check_tensors("copy_fwd_allreduce_bwd", x)
    if comm.size == 1:
        return x
    return Tensor(x.data, (x,), lambda dy: (comm.allreduce(dy),))


def allreduce_fwd_copy_bwd(x: Tensor, comm: Communicator) -> Tensor:
    """y = Σ_r x_r;   dx_r = dy.   A = [I … I],  Aᵀ = [I; …; I].   All ranks use y alike."""
    check_tensors("allreduce_fwd_copy_bwd", x)
    if comm.size == 1:
        return x
    return Tensor(comm.allreduce(x.data), (x,), lambda dy: (dy,))


def slice_fwd_allgather_bwd(x: Tensor, comm: Communicator, dim: int = 0) -> Tensor:
    """y_r = C_r x;   dx = Σ_r C_rᵀ dy_r, the blocks joined.   A = C,  Aᵀ = Cᵀ.   y is a view."""
    dim = _checked("slice_fwd_allgather_bwd", x, comm, dim)
    if comm.size == 1:
        return x
    return Tensor(_block(x.data, comm, dim), (x,), lambda dy: (_allgather(dy, comm, dim),))


def allgather_fwd_slice_bwd(x: Tensor, comm: Communicator, dim: int = 0) -> Tensor:
    """y = Σ_r C_rᵀ x_r, the blocks joined;   dx_r = C_r dy.   A = Cᵀ,  Aᵀ = C.   All ranks use y alike."""
    dim = check_dim("allgather_fwd_slice_bwd", x.ndim, dim)
    if comm.size == 1:
        return x
    return Tensor(_allgather(x.data, comm, dim), (x,), lambda dy: (_block(dy, comm, dim),))


def allgather_fwd_reducescatter_bwd(x: Tensor, comm: Communicator, dim: int = 0) -> Tensor:
    """y_r = Σ_s C_sᵀ x_s;   dx_r = C_r Σ_s dy_s.   A = [I; …; I] Cᵀ,  Aᵀ = C [I … I].

    The blocks joined on every rank, each of which uses them in its own way.
    """
    dim = check_dim("allgather_fwd_reducescatter_bwd", x.ndim, dim)
    if comm.size == 1:
        return x
    return Tensor(_allgather(x.data, comm, dim), (x,), lambda dy: (_reduce_scatter(dy, comm, dim),))


def reducescatter_fwd_allgather_bwd(x: Tensor, comm: Communicator, dim: int = 0) -> Tensor:
    """y_r = C_r Σ_s x_s;   dx_r = Σ_s C_sᵀ dy_s.   A = C [I … I],  Aᵀ = [I; …; I] Cᵀ."""
    dim = _checked("reducescatter_fwd_allgather_bwd", x, comm, dim)
    if comm.size == 1:
        return x
    return Tensor(_reduce_scatter(x.data, comm, dim), (x,), lambda dy: (_allgather(dy, comm, dim),))


def alltoall_fwd_alltoall_bwd(x: Tensor, comm: Communicator, dim: int = 0, join: int | None = None) -> Tensor:
    """y_r = the blocks r of all x_s, joined;   dx_s = the blocks s of all dy_r, joined.

    A is a permutation, Aᵀ its inverse: the way back.
    dim: along which x is cut;   join: along which the blocks of y lie, by default dim.
    So dim=2, join=1 turns places of all heads (N, T/p, H, d) into heads of all places (N, T, H/p, d).
    """
    dim = _checked("alltoall_fwd_alltoall_bwd", x, comm, dim)
    join = dim if join is None else check_dim("alltoall_fwd_alltoall_bwd", x.ndim, join)
    if comm.size == 1:
        return x
    return Tensor(_alltoall(x.data, comm, dim, join), (x,), lambda dy: (_alltoall(dy, comm, join, dim),))


def send_fwd_recv_bwd(x: Tensor, comm: Communicator, dest: int, tag: int = 0) -> Tensor:
    """Send x;   dx is received from dest, so x has to ask for a gradient.   With recv: A = I, Aᵀ = I.

    returns: a zero () that stands for what dest makes of x. Add it to the loss, call its `backward`
      where this rank has no loss, or hand it on to a later recv_fwd_send_bwd as `after`
    """
    check_tensors("send_fwd_recv_bwd", x)
    comm.send(x.data, dest, tag)
    return Tensor(xp.zeros((), x.dtype), (x,), lambda _: (comm.recv(xp.empty(x.shape, x.dtype), dest, tag),))


def recv_fwd_send_bwd(
    shape: tuple[int, ...],
    comm: Communicator,
    source: int,
    tag: int = 0,
    dtype: Any = "float32",
    after: Tensor | None = None,
) -> Tensor:
    """y is received from source;   dy is sent to it, so y has to be used, or source waits for dy.

    after: what send_fwd_recv_bwd returned for a message that y depends on, through other ranks;
      backward sends dy first, then receives that message's gradient
    """
    cause = Tensor(xp.zeros((), dtype), requires_grad=True) if after is None else after
    y = comm.recv(xp.empty(shape, dtype), source, tag)

    def vjp(dy):
        comm.send(dy, source, tag)
        return (xp.zeros((), cause.dtype),)

    return Tensor(y, (cause,), vjp)


def _checked(op: str, x: Tensor, comm: Communicator, dim: int) -> int:
    """dim from the front.   errors: LayoutError where comm's ranks cannot share it"""
    check_tensors(op, x)
    dim = check_dim(op, x.ndim, dim)
    if x.shape[dim] % comm.size:
        axis = comm.axis or comm.name
        raise LayoutError(
            f"{op}: x {x.shape} has {x.shape[dim]} places in dim {dim}, which {comm.size} {axis} ranks "
            f"cannot share; pad it or change {axis}"
        )
    return dim


def _block(x: Any, comm: Communicator, dim: int) -> Any:
    n = x.shape[dim] // comm.size
    return x[(slice(None),) * dim + (slice(comm.rank * n, (comm.rank + 1) * n),)]


def _cut(x: Any, p: int, dim: int) -> Any:
    """(…, n, …) -> (p, …, n/p, …): blocks one after the other in memory, as they are sent."""
    before, after = x.shape[:dim], x.shape[dim + 1 :]
    blocks = x.reshape(*before, p, x.shape[dim] // p, *after)
    return xp.ascontiguousarray(xp.moveaxis(blocks, dim, 0))


def _joined(blocks: Any, dim: int) -> Any:
    """(p, …, n/p, …) -> (…, n, …)"""
    x = xp.moveaxis(blocks, 0, dim)
    return x.reshape(*x.shape[:dim], x.shape[dim] * x.shape[dim + 1], *x.shape[dim + 2 :])


def _allgather(x: Any, comm: Communicator, dim: int) -> Any:
    return _joined(comm.allgather(xp.ascontiguousarray(x)[None]), dim)


def _reduce_scatter(x: Any, comm: Communicator, dim: int) -> Any:
    return comm.reduce_scatter(_cut(x, comm.size, dim))[0]


def _alltoall(x: Any, comm: Communicator, cut: int, join: int) -> Any:
    return _joined(comm.alltoall(_cut(x, comm.size, cut)), join)
