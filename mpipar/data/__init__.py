"""Data sets as host NumPy arrays, and who sees which samples."""

from mpipar.data.characters import Text, text
from mpipar.data.images import digits, mnist
from mpipar.data.loader import Batch, Loader
from mpipar.data.sampler import DistributedSampler

__all__ = ["Batch", "DistributedSampler", "Loader", "Text", "digits", "mnist", "text"]
