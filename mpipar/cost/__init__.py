"""Formulas for what communication must and will cost."""

from mpipar.cost.bounds import busiest_rank_bytes

__all__ = ["busiest_rank_bytes"]
