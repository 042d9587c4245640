"""Modules, backward and optimizers name themselves in a trace."""

import threading
from itertools import pairwise

import numpy as np
import pytest

import mpipar as mp
from mpipar.nn import MLP, Dropout, Linear, Module, ModuleList, ReLU, Sequential
from mpipar.optim import SGD
from mpipar.tensor import Tensor, no_grad, relu
from mpipar.trace import Recorder, prepare_folder, read, record_here, recorder_here


class Block(Module):
    def __init__(self):
        self.first, self.last = Linear(4, 4), Linear(4, 4)

    def forward(self, x):
        return x + self.last(relu(self.first(x)))


class Net(Module):
    """`blocks` is never called itself, and its first block is called twice."""

    def __init__(self, seed=0):
        self.blocks = ModuleList([Block(), Block()])
        self.head = Linear(4, 2)
        self.again = self.blocks[0]
        self._hidden = [ReLU()]
        self.initialize(seed)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(self._hidden[0](self.again(x)))


@pytest.fixture
def recorder(tmp_path):
    prepare_folder(tmp_path / "trace", {"size": 1})
    recorder = Recorder(tmp_path / "trace", 0, 1, flush_seconds=None)
    record_here(recorder)
    yield recorder
    record_here(None)


def scopes(recorder):
    """Paths in the order in which they began."""
    recorder.close()
    return [e.scope for e in read(recorder.folder).ranks[0].events if e.op == "scope"]


X = np.ones((3, 4), np.float32)
FORWARD = [
    "forward",
    "forward/blocks.0",
    "forward/blocks.0.first",
    "forward/blocks.0.last",
    "forward/blocks.1",
    "forward/blocks.1.first",
    "forward/blocks.1.last",
    "forward/blocks.0",
    "forward/blocks.0.first",
    "forward/blocks.0.last",
    "forward/ReLU",
    "forward/head",
]


def test_modules_are_named_as_named_modules_names_them(recorder):
    Net()(Tensor(X))
    assert scopes(recorder) == FORWARD


def test_names_do_not_need_a_seed_for_the_whole_and_a_model_may_become_a_part(recorder):
    part = Linear(4, 4, seed=0)
    part(Tensor(X))
    Sequential(part, ReLU())(Tensor(X))
    assert scopes(recorder) == ["forward", "forward", "forward/0", "forward/1"]


class Grows(Module):
    """Gets a list of layers while it is called."""

    def forward(self, x):
        self.layers = ModuleList([Linear(4, 4, seed=0), Linear(4, 4, seed=1)])
        for layer in self.layers:
            x = layer(x)
        return x


def test_layers_that_are_made_in_forward(recorder):
    Grows()(Tensor(X))
    assert scopes(recorder) == ["forward", "forward/layers.0", "forward/layers.1"]


def test_a_part_of_a_larger_model_has_its_name_there(recorder):
    stage = Block()
    stage.initialize(0, prefix="blocks.7")
    stage(Tensor(X))
    assert scopes(recorder) == ["forward/blocks.7", "forward/blocks.7.first", "forward/blocks.7.last"]


def test_a_module_that_is_added_later_is_found(recorder):
    net = Sequential(Linear(4, 4, seed=0))
    net(Tensor(X))
    setattr(net, "1", Linear(4, 2, seed=1))
    net(Tensor(X))
    assert scopes(recorder) == ["forward", "forward/0", "forward", "forward/0", "forward/1"]


def test_user_scopes_are_around_and_the_next_call_starts_anew(recorder):
    net = MLP([4, 3, 2], seed=0)
    with recorder.scope("train", step=5, micro=1), no_grad():
        net(Tensor(X))
        net(Tensor(X))
    names = ["train/forward", "train/forward/0", "train/forward/1", "train/forward/2"]
    assert scopes(recorder) == ["train", *names, *names]
    events = read(recorder.folder).ranks[0].events
    assert {(e.step, e.micro) for e in events} == {(5, 1)}


def test_backward_is_put_down_to_the_modules_whose_operations_it_hears(recorder):
    """Of a block x + last(relu(first(x))): the sum is its own, relu too."""
    net = Sequential(Block(), ReLU(), seed=0)
    loss = net(Tensor(X)).sum()  # an operation of no module
    recorder.flush()
    before = recorder.begin()
    loss.backward()
    recorder.close()
    events = [e for e in read(recorder.folder).ranks[0].events if e.seq > before]
    assert [e.scope for e in events] == [
        "backward",
        "backward/1",
        "backward/0",
        "backward/0.last",
        "backward/0",
        "backward/0.first",
    ]
    whole, parts = events[0], events[1:]
    assert all(whole.start <= e.start <= e.end <= whole.end for e in parts)
    assert all(a.end <= b.start for a, b in pairwise(parts))  # no two at once
    assert recorder.scope_path == ""


def test_what_hooks_send_is_in_the_scope_of_the_module(recorder):
    net, seen = MLP([4, 3, 2], seed=0), []
    for _, p in net.named_parameters():
        p.register_post_accumulate_grad_hook(lambda p: seen.append((p.name, recorder.scope_path)))
    net(Tensor(X)).sum().backward()
    assert sorted(seen) == [
        ("0.bias", "backward/0"),
        ("0.weight", "backward/0"),
        ("2.bias", "backward/2"),
        ("2.weight", "backward/2"),
    ]


def test_a_training_step(recorder):
    net = MLP([4, 2], seed=0)
    optimizer = SGD(net.parameters(), lr=0.1)
    with recorder.scope("step", 0):
        net(Tensor(X)).sum().backward()
        optimizer.step()
    top = ["step", "step/forward", "step/forward/0", "step/backward", "step/backward/0", "step/optimizer"]
    assert scopes(recorder) == top


def test_an_error_inside_leaves_no_scope_open(recorder):
    net = MLP([4, 2], seed=0)
    with pytest.raises(Exception, match="5"):
        net(Tensor(np.ones((3, 5), np.float32)))
    assert recorder.scope_path == "" and recorder.model is None
    y = net(Tensor(X)).sum()
    y.vjp = lambda g: 1 / 0
    with pytest.raises(ZeroDivisionError):
        y.backward()
    assert recorder.scope_path == ""


def test_a_trace_changes_no_number(recorder):
    def train():
        net = Sequential(Linear(4, 4), Dropout(0.5), Linear(4, 2), seed=0)
        optimizer = SGD(net.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            net(Tensor(X)).sum().backward()
            optimizer.step()
        return np.concatenate([p.numpy().reshape(-1) for p in net.parameters()])

    traced = train()
    record_here(None)
    assert np.array_equal(traced, train())


def test_each_virtual_rank_has_its_own_and_a_thread_none(tmp_path):
    def program(world):
        found = []
        thread = threading.Thread(target=lambda: found.append(recorder_here()))
        thread.start()
        thread.join()
        with world.scope(f"rank {world.rank}"):
            world.barrier()  # the others run meanwhile
            MLP([4, 2], seed=0)(Tensor(X))
            world.barrier()
        return found[0] is None and recorder_here() is world.recorder

    assert mp.virtual.run(program, 3, trace=tmp_path / "trace") == [True] * 3
    for rank, trace in read(tmp_path / "trace").ranks.items():
        paths = [e.scope for e in trace.events if e.op == "scope"]
        assert paths == [f"rank {rank}" + below for below in ("", "/forward", "/forward/0")]
    assert recorder_here() is None
