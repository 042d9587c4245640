"""Data sets as host NumPy arrays, and who sees which samples."""

from mpipar.data.characters import Text, text
from mpipar.data.images import digits, mnist
from mpipar.data.loader import Batch, Loader, MicroBatch, micro_batches
from mpipar.data.sampler import DistributedSampler
from mpipar.data.shares import proportional

__all__ = [
    "Batch",
    "DistributedSampler",
    "Loader",
    "MicroBatch",
    "Text",
    "digits",
    "micro_batches",
    "mnist",
    "proportional",
    "text",
]
