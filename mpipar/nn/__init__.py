"""Modules: parameters with PyTorch's names and shapes, layers, and three models.

model = MLP([64, 128, 64, 10], seed=0)
loss = cross_entropy(model(x), labels)
loss.backward()
"""

from mpipar.nn import init
from mpipar.nn.activation import GELU, ReLU, Sigmoid, Tanh
from mpipar.nn.attention import CausalSelfAttention, MultiHeadAttention
from mpipar.nn.chain import Layer, chain_of
from mpipar.nn.cnn import CNN
from mpipar.nn.container import ModuleList, Sequential
from mpipar.nn.conv import AvgPool2d, Conv2d, Flatten, MaxPool2d
from mpipar.nn.dropout import Dropout, share_rows
from mpipar.nn.embedding import Embedding
from mpipar.nn.flat import Flat, flatten, flatten_by_dtype, move_into
from mpipar.nn.gpt import GPT, Block
from mpipar.nn.init import Init
from mpipar.nn.linear import Linear
from mpipar.nn.loss import CrossEntropyLoss, MSELoss
from mpipar.nn.mlp import MLP
from mpipar.nn.module import Module
from mpipar.nn.norm import LayerNorm, RMSNorm
from mpipar.nn.parameter import Parameter
from mpipar.nn.parts import Parts
from mpipar.nn.shard import Shard

__all__ = [
    "CNN", "GELU", "GPT", "MLP", "AvgPool2d", "Block", "CausalSelfAttention", "Conv2d",
    "CrossEntropyLoss", "Dropout", "Embedding", "Flat", "Flatten", "Init", "Layer", "LayerNorm", "Linear",
    "MSELoss", "MaxPool2d", "Module", "ModuleList", "MultiHeadAttention", "Parameter", "Parts",
    "RMSNorm", "ReLU", "Sequential", "Shard", "Sigmoid", "Tanh", "chain_of", "flatten",
    "flatten_by_dtype", "init", "move_into", "share_rows",
]  # fmt: skip
