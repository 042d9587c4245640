"""Training on several ranks."""

from mpipar.parallel.data import DataParallel

__all__ = ["DataParallel"]
