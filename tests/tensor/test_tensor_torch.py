"""Every operation: value and gradients as PyTorch's, ties and kinks included."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensor_cases import CASES, examples, on_backend

from mpipar.arrays import asarray, to_host
from mpipar.tensor import Tensor

torch = pytest.importorskip("torch")
torch.set_num_threads(1)


@pytest.mark.parametrize("case", CASES, ids=str)
@given(data=st.data())
@examples(12)
def test_value_and_gradients_are_pytorchs(case, data):
    inputs, extra = case.make(data.draw)
    if case.kinks:
        inputs = [np.asarray(np.round(x)) for x in inputs]
    theirs = [torch.tensor(x, requires_grad=True) for x in inputs]
    options = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in extra.items()}
    y = case.torch(torch, *theirs, **options)
    seed = np.asarray(np.cos(1 + np.arange(y.numel())).reshape(tuple(y.shape)))
    y.backward(torch.from_numpy(seed))

    ours = [Tensor(asarray(x), requires_grad=True) for x in inputs]
    z = case.call(*ours, **on_backend(extra))
    assert z.shape == tuple(y.shape)
    np.testing.assert_allclose(z.numpy(), y.detach().numpy(), rtol=1e-9, atol=1e-11)
    z.backward(asarray(seed))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(to_host(a.grad), b.grad.numpy(), rtol=1e-9, atol=1e-11)
