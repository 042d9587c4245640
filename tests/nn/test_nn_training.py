"""Models learn."""

import numpy as np

from mpipar import nn, optim
from mpipar.arrays import asarray
from mpipar.data import digits, text
from mpipar.tensor import Tensor, cross_entropy


def train(model, opt, x, y, steps):
    losses = []
    for _ in range(steps):
        loss = cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        opt.zero_grad()
        losses.append(loss.item())
    return losses


def test_gpt_learns_a_text():
    corpus = text()
    x, y = (asarray(np.ascontiguousarray(part[:8])) for part in corpus.blocks(32))
    model = nn.GPT(len(corpus.vocabulary), 32, 32, layers=2, heads=4, dropout=0.05, seed=0)
    losses = train(model, optim.AdamW(model.parameters(), lr=1e-2), x, y, 40)
    assert abs(losses[0] - np.log(len(corpus.vocabulary))) < 0.1  # starts as a uniform guess
    assert losses[-1] < 0.65 * losses[0]


def test_cnn_and_mlp_learn_digits():
    for model, images in ((nn.CNN(channels=(8, 8), seed=0), True), (nn.MLP([64, 32, 10], seed=0), False)):
        x, y = digits("train", images=images)
        x, y = Tensor(x[:256]), asarray(y[:256])
        train(model, optim.Adam(model.parameters(), lr=1e-2), x, y, 40)
        test_x, test_y = digits("test", images=images)
        right = model(Tensor(test_x)).numpy().argmax(1) == test_y
        assert right.mean() > 0.8
