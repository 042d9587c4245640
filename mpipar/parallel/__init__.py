"""Training on several ranks."""

from mpipar.parallel.certify import Certificate, certify
from mpipar.parallel.data import DataParallel
from mpipar.parallel.layer_times import layer_seconds
from mpipar.parallel.mesh import Mesh, parse_mesh
from mpipar.parallel.models import gpt, mlp, parts_of
from mpipar.parallel.pipeline import Pipeline
from mpipar.parallel.shards import (
    cut,
    global_grad_norm,
    global_slices,
    load_whole_state_dict,
    whole,
    whole_state_dict,
)
from mpipar.parallel.shares import balanced_seconds, measure_speeds, step_seconds
from mpipar.parallel.training import Training
from mpipar.parallel.zero import ZeRO

__all__ = [
    "Certificate", "DataParallel", "Mesh", "Pipeline", "Training", "ZeRO", "balanced_seconds", "certify",
    "cut", "global_grad_norm", "global_slices", "gpt", "layer_seconds", "load_whole_state_dict",
    "measure_speeds", "mlp", "parse_mesh", "parts_of", "step_seconds", "whole", "whole_state_dict",
]  # fmt: skip
