"""Optimizers equal to PyTorch's, schedules of the learning rate, clipping.

opt = Adam(model.parameters(), lr=1e-3)
loss.backward(); clip_grad_norm(model.parameters(), 1.0); opt.step(); opt.zero_grad()
"""

from mpipar.optim.adagrad import AdaGrad
from mpipar.optim.adam import Adam
from mpipar.optim.adamw import AdamW
from mpipar.optim.clip import clip_grad_norm, grad_norm
from mpipar.optim.optimizer import Optimizer
from mpipar.optim.schedule import CosineLR, Schedule, StepLR, cosine, step_decay
from mpipar.optim.sgd import SGD

__all__ = [
    "SGD", "AdaGrad", "Adam", "AdamW", "CosineLR", "Optimizer", "Schedule", "StepLR",
    "clip_grad_norm", "cosine", "grad_norm", "step_decay",
]  # fmt: skip
