"""Messages as tensor operations: ⟨Ax, y⟩ = ⟨x, Aᵀy⟩, what is one value on all ranks counted once."""

import numpy as np
import pytest
from ranks import ranks

from mpipar.arrays import asarray, to_host
from mpipar.errors import LayoutError
from mpipar.parallel.differentiable import (
    allgather_fwd_reducescatter_bwd,
    allgather_fwd_slice_bwd,
    allreduce_fwd_copy_bwd,
    alltoall_fwd_alltoall_bwd,
    copy_fwd_allreduce_bwd,
    recv_fwd_send_bwd,
    reducescatter_fwd_allgather_bwd,
    send_fwd_recv_bwd,
    slice_fwd_allgather_bwd,
)
from mpipar.tensor import Tensor, concat

# operation -> whether x and y are one value on all ranks (else each rank has its own)
PAIRS = {
    copy_fwd_allreduce_bwd: (True, False),
    allreduce_fwd_copy_bwd: (False, True),
    slice_fwd_allgather_bwd: (True, False),
    allgather_fwd_slice_bwd: (False, True),
    allgather_fwd_reducescatter_bwd: (False, False),
    reducescatter_fwd_allgather_bwd: (False, False),
    alltoall_fwd_alltoall_bwd: (False, False),
}
WITHOUT_DIM = (copy_fwd_allreduce_bwd, allreduce_fwd_copy_bwd)


def draw(world, shape, replicated, seed):
    rank = 0 if replicated else world.rank
    return np.random.default_rng([seed, rank]).standard_normal(shape)


def inner(world, a, b, replicated):
    """⟨a, b⟩ over all ranks' values."""
    mine = np.array([(to_host(a) * to_host(b)).sum()])
    return mine[0] if replicated else world.allreduce(mine)[0]


def check_adjoint(world, operation, shape, **options):
    one_x, one_y = PAIRS[operation]
    x = Tensor(asarray(draw(world, shape, one_x, 0)), requires_grad=True)
    y = operation(x, world, **options)
    v = draw(world, y.shape, one_y, 1)
    y.backward(asarray(v))
    forward, backward = inner(world, y.data, v, one_y), inner(world, x.data, x.grad, one_x)
    np.testing.assert_allclose(forward, backward, rtol=1e-12, atol=1e-12)
    for value, one in ((y.data, one_y), (x.grad, one_x)):
        if one:  # the same bits on all ranks
            both = world.allgather(to_host(value)[None])
            assert (both == both[:1]).all()


@ranks(1, 2, 3, 4, 5)
def test_every_pair_is_adjoint_along_every_dim(world):
    p = world.size
    for operation in PAIRS:
        for dim in [None] if operation in WITHOUT_DIM else [0, 1, 2, -1]:
            check_adjoint(world, operation, (2 * p, p, 3 * p), **({} if dim is None else {"dim": dim}))
    check_adjoint(world, alltoall_fwd_alltoall_bwd, (2, 3, p, 2), dim=2, join=1)


@ranks(2, 3, 5)
def test_what_each_forward_gives(world):
    p, r = world.size, world.rank
    whole = np.random.default_rng(0).standard_normal((2, 2 * p, 3))
    block = whole[:, 2 * r : 2 * r + 2]
    one, mine = Tensor(asarray(whole)), Tensor(asarray(block))
    near = np.testing.assert_allclose
    near(copy_fwd_allreduce_bwd(one, world).numpy(), whole)
    near(slice_fwd_allgather_bwd(one, world, 1).numpy(), block)
    near(allgather_fwd_slice_bwd(mine, world, 1).numpy(), whole)
    near(allgather_fwd_reducescatter_bwd(mine, world, 1).numpy(), whole)
    near(allreduce_fwd_copy_bwd(one * (r + 1), world).numpy(), whole * p * (p + 1) / 2, rtol=1e-12)
    near(
        reducescatter_fwd_allgather_bwd(one * (r + 1), world, 1).numpy(), block * p * (p + 1) / 2, rtol=1e-12
    )
    rows = Tensor(asarray(np.arange(p) + 10.0 * r))
    near(alltoall_fwd_alltoall_bwd(rows, world).numpy(), r + 10.0 * np.arange(p))
    heads = np.random.default_rng(1).standard_normal((2, 2 * p, 3 * p))  # places of all heads → heads of all
    mine = Tensor(asarray(heads[:, 2 * r : 2 * r + 2]))
    near(alltoall_fwd_alltoall_bwd(mine, world, dim=2, join=1).numpy(), heads[:, :, 3 * r : 3 * r + 3])


@ranks(1, 3)
def test_empty_blocks_travel(world):
    x = Tensor(asarray(np.zeros((0, 2, world.size))), requires_grad=True)
    y = allgather_fwd_slice_bwd(slice_fwd_allgather_bwd(x, world, 2), world, 2)
    assert y.shape == x.shape
    y.sum().backward()
    assert x.grad.shape == x.shape


@ranks(2)
def test_sizes_that_do_not_divide_are_named(world):
    x = Tensor(asarray(np.zeros((2, 5))))
    with pytest.raises(
        LayoutError, match=r"slice_fwd_allgather_bwd: x \(2, 5\) has 5 places in dim 1, which 2"
    ):
        slice_fwd_allgather_bwd(x, world, dim=-1)


@ranks(2, 3, 4)
def test_a_message_there_and_back_has_the_gradient_of_the_serial_chain(world):
    """Rank 0's x goes to the last rank through all others, each squaring it, and comes home."""
    p, r = world.size, world.rank
    x = Tensor(asarray(np.array([1.1, -0.9])), requires_grad=True)
    if r == 0:
        sent = send_fwd_recv_bwd(x, world, 1)
        loss = (recv_fwd_send_bwd((2,), world, p - 1, dtype="float64", after=sent) * 3).sum()
        loss.backward()
        power = 2 ** (p - 1)
        np.testing.assert_allclose(loss.item(), 3 * (x.numpy() ** power).sum(), rtol=1e-12)
        np.testing.assert_allclose(to_host(x.grad), 3 * power * x.numpy() ** (power - 1), rtol=1e-12)
    else:
        y = recv_fwd_send_bwd((2,), world, r - 1, dtype="float64")
        send_fwd_recv_bwd(y * y, world, (r + 1) % p).backward()


@ranks(2)
def test_send_and_recv_are_adjoint(world):
    x = Tensor(asarray(draw(world, (3, 2), False, 0)), requires_grad=True)
    v = draw(world, (3, 2), False, 1)
    other = 1 - world.rank
    if world.rank == 0:
        sent = send_fwd_recv_bwd(x, world, other, tag=3)
        y = recv_fwd_send_bwd((3, 2), world, other, dtype="float64", after=sent)
        y.backward(asarray(v))
    else:
        y = recv_fwd_send_bwd((3, 2), world, other, tag=3, dtype="float64")
        sent = send_fwd_recv_bwd(x, world, other)
        (sent + (y * asarray(v)).sum()).backward()
    forward, backward = inner(world, y.data, v, False), inner(world, x.data, x.grad, False)
    np.testing.assert_allclose(forward, backward, rtol=1e-12)


@ranks(2, 4)
def test_backward_messages_come_in_one_order_although_branches_differ_in_length(world):
    """Two branches with a message each; on odd ranks the first is longer, so it is ready later."""
    x = Tensor(asarray(np.ones(3)), requires_grad=True)
    a, b = copy_fwd_allreduce_bwd(x, world), copy_fwd_allreduce_bwd(x * 2.0, world)
    for _ in range(world.rank % 2 * 3):
        a = a + 0.0
    concat([b, a * 5.0]).sum().backward()
    np.testing.assert_allclose(to_host(x.grad), world.size * 7.0)
