"""Embedding: rows of a table, chosen by integers."""

from typing import Any

from mpipar.arrays import add_rows, xp
from mpipar.errors import ShapeError
from mpipar.tensor.checks import check_ids, check_tensors, constant
from mpipar.tensor.engine import Tensor


def embedding(ids: Any, weight: Tensor) -> Tensor:
    """y[…,:] = w[ids[…],:];   dw[i,:] = Σ dy[…,:] over the places where ids is i.

    shapes: ids (…,) integers in an array or Tensor, weight (rows, width) -> (…, width)
    cost: backward writes all of dw once. The range of the ids is checked, which waits for the
      device: their least and greatest come to the host in one copy, for a GPU would read
      another row in silence
    errors: LabelError for the first id out of range; ShapeError, DTypeError
    """
    check_tensors("embedding", weight)
    ids = constant("embedding", "ids", ids)
    if weight.ndim != 2:
        raise ShapeError(f"embedding: weight {weight.shape}; give it the shape (rows, width)")
    check_ids("embedding", "id", ids, 0, weight.shape[0], "rows")

    def vjp(dy):
        dw = xp.zeros(weight.shape, dy.dtype)
        add_rows(dw, ids, dy)
        return (dw,)

    return Tensor(weight.data[ids], (weight,), vjp)
