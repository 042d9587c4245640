"""The certificate: correct layouts pass, seeded mistakes are caught and named."""

import re
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from ranks import ranks

import mpipar as mp
from mpipar.arrays import asarray, to_host
from mpipar.errors import LayoutError, OptionError
from mpipar.nn import GPT, MLP, Dropout, LayerNorm, Linear, Parameter, Sequential
from mpipar.optim import SGD, Adam, AdamW, clip_grad_norm, grad_norm
from mpipar.parallel import DataParallel, Mesh, Pipeline, gpt, mlp, pipeline
from mpipar.parallel.certify import LIMIT, certify
from mpipar.parallel.differentiable import allreduce_fwd_copy_bwd
from mpipar.parallel.job import certify_job
from mpipar.parallel.options import Options
from mpipar.parallel.pipeline_actions import Actions
from mpipar.parallel.pipeline_batch import Losses
from mpipar.parallel.sequence import SequenceLayerNorm
from mpipar.parallel.stages import Ties
from mpipar.parallel.tensor import ColumnLinear, RowLinear
from mpipar.parallel.training import Training
from mpipar.schedule import SCHEDULES
from mpipar.tensor import Tensor, cross_entropy, linear

DRAW = np.random.default_rng(0)
X, CLASSES = DRAW.standard_normal((3, 8, 12)), DRAW.integers(0, 6, (3, 8))
IDS, NEXT = DRAW.integers(0, 24, (3, 8, 8)), DRAW.integers(0, 24, (3, 8, 8))
GPT_SIZES = {"vocabulary": 24, "context": 8, "width": 12, "layers": 1, "heads": 6, "seed": 3}
GPT_SIZES["dtype"] = np.float64


def cut_batches(x, y, rows=None):
    """batches(rank, size) of the arrays (steps, samples, …); rows: (rank, size, total) -> (start, stop)"""

    def usual(rank, size, total):
        each, more = divmod(total, size)
        start = rank * each + min(rank, more)
        return start, start + each + (rank < more)

    def batches(rank, size):
        for xs, ys in zip(x, y, strict=True):
            place = usual(rank, size, len(ys))
            start, stop = (rows or usual)(rank, size, len(ys))
            share = (place[1] - place[0]) / len(ys)
            yield mp.data.Batch(asarray(xs[start:stop]), asarray(ys[start:stop]), share, (*place, len(ys)))

    return batches


# ---- the mistakes: each is a correct layer or step with one line changed


class Summed(DataParallel):
    def averaging(self, share=None):
        return super().averaging(1.0)


class AveragedTwice(DataParallel):
    def averaging(self, share=None):
        return super().averaging(share / self.comm.size)


class NotSummed(DataParallel):
    @contextmanager
    def averaging(self, share=None):
        yield


class Halved(DataParallel):
    def averaging(self, share=None):
        return super().averaging(share / 2)


class Unweighted(DataParallel):
    def averaging(self, share=None):
        return super().averaging()


class Maximum(DataParallel):
    def _allreduce(self, share):
        for bucket in self.buckets:
            bucket.grad[...] = self.comm.allreduce(bucket.grad, "max")


class BiasBeforeTheSum(RowLinear):
    def forward(self, x):
        return allreduce_fwd_copy_bwd(linear(x, self.weight, self.bias), self.tp)


class BiasTwice(ColumnLinear):
    def forward(self, x):
        return super().forward(x) + self.bias


class NoBias(RowLinear):
    def forward(self, x):
        return allreduce_fwd_copy_bwd(self.term(x), self.tp)


class RowMaximum(RowLinear):
    def forward(self, x):
        y = linear(x, self.weight)
        return Tensor(self.tp.allreduce(y.data, "max"), (y,), lambda dy: (dy,)) + self.bias


class RowNotSummed(RowLinear):
    def forward(self, x):
        return linear(x, self.weight) + self.bias


class RowSummedTwice(RowLinear):
    """The conjugate of a sum that all go on with alike is a copy, not a sum."""

    def forward(self, x):
        y = linear(x, self.weight)
        summed = Tensor(self.tp.allreduce(y.data), (y,), lambda dy: (self.tp.allreduce(dy),))
        return summed + self.bias


class ColumnNotSummed(ColumnLinear):
    """Lacks copy_fwd_allreduce_bwd: dx is this rank's part only."""

    def forward(self, x):
        return linear(x, self.weight, self.bias)


class Cached(ColumnLinear):
    def forward(self, x):
        if not hasattr(self, "kept"):
            self.kept = Tensor(self.weight.data.copy())
        y = super().forward(x)
        return Tensor(linear(x, self.kept, self.bias).data, (y,), lambda dy: (dy,))


class LowPrecision(ColumnLinear):
    def forward(self, x):
        y = super().forward(x)
        return Tensor(y.data.astype("float32").astype("float64"), (y,), lambda dy: (dy,))


class OwnRows(Dropout):
    def forward(self, x):
        self.rows = None
        return super().forward(x)


class OwnSeed(Dropout):
    def forward(self, x):
        self.seed = 1000 + self.rows[0]
        return super().forward(x)


class ReversedParts(ColumnLinear):
    def forward(self, x):
        y = super().forward(x)
        blocks = np.split(to_host(y.data), self.tp.size, axis=-1)
        return Tensor(asarray(np.concatenate(blocks[::-1], axis=-1)), (y,), lambda dy: (dy,))


class Two(Sequential):
    """A student's own model, and a layer of his own in it."""

    def loss(self, x, y, reduction="mean"):
        return cross_entropy(self(x), y, reduction)


class ForgetsZeroGrad(SGD):
    def zero_grad(self):
        pass


def swap(model, kind, broken):
    for module in model.modules():
        if type(module) is kind:
            module.__class__ = broken


def scale_the_loss(model, times):
    right = model.loss
    model.__class__ = type("Scaled", (type(model),), {"loss": lambda self, x, y: right(x, y) * times})


def mlp_with(broken=None, kind=None, steps=SGD, replica=None, change=None, **sizes):
    """An MLP's layout with a mistake."""

    def make(world):
        mesh = Mesh(world, **sizes)
        model = mlp([12, 12, 12, 12, 6], mesh, seed=1, dtype=np.float64)
        if broken:
            swap(model, kind, broken)
        if change:
            change(model)
        training = Training(model, steps(model.parameters(), lr=0.1), mesh)
        if replica:
            training.replica.__class__ = replica
        return training

    def serial(mesh):
        model = MLP([12, 12, 12, 12, 6], seed=1, dtype=np.float64)
        return Training(model, SGD(model.parameters(), lr=0.1), mesh)

    return make, serial


def gpt_with(broken=None, kind=None, change=None, sequence=False, dropout=0.0, **sizes):
    """A GPT's layout with a mistake."""
    config = GPT_SIZES | {"dropout": dropout}

    def make(world):
        mesh = Mesh(world, **sizes)
        model = gpt(config, mesh, sequence)
        if broken:
            swap(model, kind, broken)
        if change:
            change(model, mesh)
        return Training(model, AdamW(model.parameters(), lr=0.01), mesh)

    def serial(mesh):
        model = GPT(**config)
        return Training(model, AdamW(model.parameters(), lr=0.01), mesh)

    return make, serial


def untie(model, mesh):
    model.head.weight = Parameter(model.tokens.weight.data.copy(), shard=model.tokens.weight.shard)


def forget_the_places(model, mesh):
    model.embed = lambda ids, first=0: model.dropout(model.tokens(ids))


def take_the_wrong_part(model, mesh):
    """Rank r draws the part of rank p-1-r, and says that it is part r."""
    p = model.layers[0].linear1.weight
    whole = GPT(**GPT_SIZES).layers[0].linear1.weight.numpy()
    p.data = asarray(np.split(whole, mesh["tp"].size)[mesh["tp"].size - 1 - mesh["tp"].rank].copy())


class SkipsOnRankOne(SGD):
    rank = 0

    def step(self):
        if self.rank != 1:
            super().step()


def unlike(of_layout, of_serial):
    """Two ways to train one model: (model -> optimizer, options of Training) each."""

    def training(way, model, mesh):
        optimizer, options = way
        return Training(model, optimizer(model), mesh, **options)

    def layout(mesh):
        return training(of_layout, mlp([12, 12, 6], mesh, seed=1, dtype=np.float64), mesh)

    return (
        lambda world: layout(Mesh(world, tp=2)),
        lambda mesh: training(of_serial, MLP([12, 12, 6], seed=1, dtype=np.float64), mesh),
    )


def freezes(model):
    model[0].bias.requires_grad = False
    return adam(model)


def adam(model, lr=0.01):
    return Adam(model.parameters(), lr=lr)


def verdict(made, x=X, y=CLASSES, size=4, rows=None):
    make, serial = made

    def program(world):
        me = Mesh(world.split(world.rank))

        def layout():
            training = make(world)
            training.optimizer.rank = world.rank
            return training

        return certify(layout, lambda: serial(me), cut_batches(x, y, rows))

    found = mp.virtual.run(program, size)
    assert all(one == found[0] for one in found)
    return found[0]


def nan_on_rank_one(model, mesh):
    if mesh.comm.rank == 1:
        model.layers[0].linear2.bias.data[0] = np.nan


def gathered_in_another_order():
    def make(world):
        mesh = Mesh(world, tp=world.size)
        layer = ReversedParts(12, 9, mesh["tp"], gather_output=True, dtype=np.float64)
        model = Two(layer, Linear(9, 6, dtype=np.float64), seed=1)
        return Training(model, SGD(model.parameters()), mesh)

    def serial(mesh):
        model = Two(Linear(12, 9, dtype=np.float64), Linear(9, 6, dtype=np.float64), seed=1)
        return Training(model, SGD(model.parameters()), mesh)

    return make, serial


def the_next_ranks_samples(rank, size, total):
    each = total // size
    return ((rank + 1) % size * each, (rank + 1) % size * each + each) if size > 1 else (0, total)


FIVE = {"x": X[:, :5], "y": CLASSES[:, :5]}  # of which two ranks have 3 and 2
TOKENS = {"x": IDS, "y": NEXT}
MISTAKES = {
    "no 1/N": (mlp_with(dp=4, replica=Summed), {}, "a missing or needless 1/N", "gradient of 6."),
    "1/N twice": (
        mlp_with(dp=2, tp=2, replica=AveragedTwice),
        {},
        "a missing or needless 1/N",
        "gradient of 6.",
    ),
    "no average": (mlp_with(dp=4, replica=NotSummed), {}, "not reduced", "each dp rank has the mean"),
    "unweighted": (
        mlp_with(dp=2, replica=Unweighted),
        {**FIVE, "size": 2},
        "a wrong reduction",
        "the mean of",
    ),
    "sum": (mlp_with(dp=2, replica=Summed), {**FIVE, "size": 2}, "a wrong reduction", "the sum of the dp"),
    "half": (
        mlp_with(dp=3, replica=Halved),
        {"x": X[:, :6], "y": CLASSES[:, :6], "size": 3},
        "a constant factor",
        "0.5 times the right value",
    ),
    "scaled loss": (
        mlp_with(change=lambda model: scale_the_loss(model, 128), dp=2),
        {"size": 2},
        "a constant factor",
        "the loss in step 1, on ranks 0, 1, by 1.3e+02 of its largest number: a constant factor (128 times",
    ),
    "summed loss": (
        mlp_with(change=lambda model: scale_the_loss(model, 8)),
        {"size": 1},
        "a constant factor",
        "8 times the right value, as many as there are labels",
    ),
    "same samples": (
        mlp_with(dp=4),
        {"rows": lambda rank, size, total: (0, total // size)},
        "a part in another order or place",
        "dp rank 1 has the samples of dp rank 0",
    ),
    "maximum": (mlp_with(dp=4, replica=Maximum), {}, "a wrong reduction", "the maximum of the dp"),
    "bias twice": (
        mlp_with(BiasBeforeTheSum, RowLinear, dp=2, tp=2),
        {},
        "the bias",
        "output of 2 in step 1",
    ),
    "bias of zero": (
        gpt_with(BiasBeforeTheSum, RowLinear, tp=3),
        {**TOKENS, "size": 3},
        "the bias",
        "layers.0.self_attn.out_proj in step 2, on ranks 0, 1, 2",
    ),
    "column bias twice": (
        mlp_with(BiasTwice, ColumnLinear, dp=2, tp=2),
        {},
        "the bias",
        "it is added 2 times)",
    ),
    "no bias": (mlp_with(NoBias, RowLinear, dp=2, tp=2), {}, "the bias", "output of 2 in step 1"),
    "no bias of zero": (
        gpt_with(NoBias, RowLinear, tp=2),
        {**TOKENS, "size": 2},
        "an unused parameter",
        "gradient of layers.0.linear2.bias in step 1",
    ),
    "no places": (
        gpt_with(change=forget_the_places, dp=2),
        {**TOKENS, "size": 2},
        "a wrong value",
        "output of dropout in step 1",
    ),
    "row maximum": (mlp_with(RowMaximum, RowLinear, tp=4), {}, "a wrong reduction", "the maximum over tp"),
    "row not summed": (mlp_with(RowNotSummed, RowLinear, dp=2, tp=2), {}, "not reduced", "sum over tp"),
    "conjugate sum": (
        mlp_with(RowSummedTwice, RowLinear, dp=2, tp=2),
        {},
        "a missing or needless 1/N",
        "over tp",
    ),
    "no conjugate": (
        mlp_with(ColumnNotSummed, ColumnLinear, dp=2, tp=2),
        {},
        "not reduced",
        "gradient of 2.",
    ),
    "norm of places": (
        gpt_with(LayerNorm, SequenceLayerNorm, dp=2, tp=2, sequence=True),
        TOKENS,
        "not reduced",
        "gradient of norm.",
    ),
    "untied": (
        gpt_with(change=untie, dp=2, tp=2),
        TOKENS,
        "a tied gradient that is not summed",
        "tokens.weight",
    ),
    "stale weight": (mlp_with(Cached, ColumnLinear, tp=4), {}, "a stale weight", "output of 0 in step 2"),
    "no zero_grad": (mlp_with(steps=ForgetsZeroGrad, dp=2), {"size": 2}, "a stale value", "zero_grad"),
    "no update": (mlp_with(steps=SkipsOnRankOne, tp=4), {}, "a stale value", "on rank 1"),
    "dropout rows": (
        gpt_with(OwnRows, Dropout, dropout=0.3, dp=4),
        TOKENS,
        "another dropout mask",
        "dropout",
    ),
    "dropout seed": (
        gpt_with(OwnSeed, Dropout, dropout=0.3, dp=2, tp=2),
        TOKENS,
        "another dropout mask",
        "dropout",
    ),
    "shard order": (
        gpt_with(change=take_the_wrong_part, tp=2),
        {**TOKENS, "size": 2},
        "a part in another order or place",
        "initial value of layers.0.linear1.weight",
    ),
    "no number": (
        gpt_with(change=nan_on_rank_one, tp=2),
        {**TOKENS, "size": 2},
        "no numbers",
        "1 of 12 are nan or inf on rank 1",
    ),
    "gather order": (
        gathered_in_another_order(),
        {"size": 3},
        "a part in another order or place",
        "2, 1, 0",
    ),
    "other samples": (
        mlp_with(dp=4),
        {"rows": the_next_ranks_samples},
        "a part in another order or place",
        "dp rank 0 has the samples of dp rank 1",
    ),
    "other samples of two": (
        mlp_with(dp=2, tp=2),
        {"rows": the_next_ranks_samples},
        "a part in another order or place",
        "dp rank 0 has the samples of dp rank 1",
    ),
    "float32": (mlp_with(LowPrecision, ColumnLinear, tp=2), {"size": 2}, "rounding", "output of 0"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_seeded_mistake_is_caught_and_named(name):
    made, data, cause, words = MISTAKES[name]
    found = verdict(made, **data)
    assert not found.equal
    assert (found.difference.cause, words in str(found)) == (cause, True), str(found)


# ---- the same for pipelines


class SwapsMicroBatches(Actions):
    def __init__(self, stages, last, parts, *others):
        x = [part.x for part in parts]
        x[0], x[1] = x[1], x[0]
        super().__init__(stages, last, [p._replace(x=of) for p, of in zip(parts, x, strict=True)], *others)


class KeepsActivations(Actions):
    """The second micro-batch starts from what the first has left in a buffer."""

    def starts_from(self, action):
        given = super().starts_from(action)
        if action.kind == "F" and action.stage:
            self.buffer = self.buffer if action.micro == 1 else given
            return self.buffer
        return given


class ScalesTwice(Losses):
    def weight(self, labels):
        return super().weight(labels) / len(labels)


class SumsNoTies(Ties):
    def sum_gradients(self):
        pass


def piped(model=lambda mesh: mlp([12, 12, 12, 12, 6], mesh, dtype=np.float64), partition=None, **sizes):
    """A pipeline's layout.   partition: place on pp -> sizes of stages"""

    def make(world):
        mesh = Mesh(world, **sizes)
        cut = "count" if partition is None else partition(mesh["pp"].rank)
        stages = Pipeline(model(mesh), mesh["pp"], "1f1b", micro_batches=4, partition=cut, seed=3)
        return Training(stages.model, AdamW(stages.parameters(), lr=0.01), mesh, pipeline=stages)

    def serial(mesh):
        whole = model(mesh).initialize(3)
        return Training(whole, AdamW(whole.parameters(), lr=0.01), mesh)

    return make, serial


def tied(mesh):
    return gpt(GPT_SIZES | {"seed": None}, mesh)


OF_PIPELINES = {
    "order": (
        piped(dp=2, pp=2),
        {"Actions": SwapsMicroBatches},
        {},
        "micro-batch order",
        "output of 0 in step 1, on ranks 0, 1, .*lie in the order 1, 0, 2, 3",
    ),
    "stale": (
        piped(dp=2, pp=2),
        {"Actions": KeepsActivations},
        {},
        "a stale activation",
        "output of 4 in step 1, on ranks 2, 3, .*micro-batch 1 was computed from what micro-batch 0",
    ),
    "loss": (
        piped(tp=2, pp=2),
        {"Losses": ScalesTwice},
        {},
        "a loss scaled twice",
        "the loss in step 1, .*1/4 of the right value",
    ),
    "overlap of stages": (
        piped(pp=2, partition=lambda place: [2, 2] if place == 0 else [1, 3]),
        {},
        {"size": 2},
        "a shifted stage boundary",
        "initial value of 2.weight, on ranks 0, 1: .*pp ranks 0 and 1 have it",
    ),
    "gap between stages": (
        piped(dp=2, pp=2, partition=lambda place: [2, 2] if place == 0 else [3, 1]),
        {},
        {},
        "a shifted stage boundary",
        "initial value of 4.weight, .*no pp rank has it",
    ),
    "ties": (
        piped(tied, tp=2, pp=2),
        {"Ties": SumsNoTies},
        TOKENS,
        "a tied gradient that is not summed",
        "gradient of (tokens|head).weight",
    ),
}


@pytest.mark.parametrize("name", OF_PIPELINES)
def test_a_pipelines_mistake_is_caught_and_named(name, monkeypatch):
    made, wrong, data, cause, words = OF_PIPELINES[name]
    for what, instead in wrong.items():
        monkeypatch.setattr(pipeline, what, instead)
    found = verdict(made, **data)
    assert not found.equal and found.difference.cause == cause, str(found)
    assert re.search(words, str(found)), str(found)


def test_layouts_without_a_mistake_are_equal():
    for made, data in (
        (mlp_with(dp=2, tp=2), {}),
        (mlp_with(dp=4), {"x": X[:, :5], "y": CLASSES[:, :5]}),
        (gpt_with(dp=2, tp=2, sequence=True, dropout=0.3), TOKENS),
        (piped(dp=2, pp=2), {}),
        (piped(tied, tp=2, pp=2), TOKENS),
    ):
        found = verdict(made, **data)
        assert found.equal and found.largest < LIMIT / 100, str(found)


@pytest.mark.parametrize("size", range(1, 9))
def test_no_correct_layout_of_up_to_eight_ranks_is_accused(size):
    """dp × tp × sequence, three models, dropout, accumulation, unequal shares, all strategies."""
    for options in sweep(size):
        found = mp.virtual.run(lambda world, options=options: certify_job(options, world), size)[0]
        assert found.equal and found.largest < LIMIT / 100, f"{options.words()}: {found}"


def sweep(size):
    strategies = ("naive", "flat", "bucketed", "overlap")
    for tp in (n for n in range(1, size + 1) if size % n == 0):
        dp = size // tp
        variety = strategies[(dp + tp) % 4]
        common = {"mesh": f"dp={dp},tp={tp}", "batch": 2 * dp + 1, "strategy": variety, "clip": 0.5}
        small = {"width": 8 * tp, "heads": tp, "context": 4 * tp, "layers": 1, "micro_batches": 2}
        yield Options("mlp", widths=f"{4 * tp},{2 * tp}", optimizer="momentum", **common)
        for sequence in {False, tp > 1} if tp != 7 else ():  # which cannot share the text's 120 words
            yield Options("gpt", "text", dropout=0.1, sequence=sequence, **common, **small)
        if tp == 1:
            yield Options("cnn", optimizer="adam", **common)


TABLE = "rank 0: F0 F1 B0 I1 W1\nrank 1: F0 I0 W0 F1 B1\n"
SMALL = {"model": "gpt", "data": "text", "layers": 2, "width": 8, "heads": 2, "context": 4, "clip": 0.5}
STAGED = {  # ranks -> options
    1: [{"zero": 1, "batch": 3}, {"zero": 3, "batch": 4}],
    2: [
        {"mesh": "pp=2", "schedule": "naive", "micro_batches": 2, "batch": 4},
        {"mesh": "pp=2", "schedule": "interleaved", "virtual_stages": 2, "micro_batches": 4, "batch": 4},
        {"mesh": "pp=2", "schedule": "table", "batch": 4, "dropout": 0.1},
        {"mesh": "dp=2", "zero": 3, "batch": 5, "micro_batches": 2, "dropout": 0.1},
    ],
    3: [
        {"mesh": "pp=3", "schedule": "zb-h1", "micro_batches": 4, "batch": 4, "partition": "time"},
        {"mesh": "dp=3", "zero": 1, "batch": 7, "micro_batches": 2, "optimizer": "momentum"},
    ],
    4: [
        {"mesh": "dp=2,pp=2", "zero": 1, "micro_batches": 2, "batch": 4, "recompute": True, "dropout": 0.1},
        {"mesh": "pp=4", "schedule": "zb-h2", "micro_batches": 6, "batch": 6},
        {"mesh": "dp=2,tp=2", "zero": 3, "micro_batches": 2, "batch": 4, "sequence": True},
    ],
    5: [{"mesh": "dp=5", "zero": 2, "batch": 11, "optimizer": "adagrad"}],
    6: [{"mesh": "dp=3,pp=2", "zero": 2, "schedule": "gpipe", "micro_batches": 2, "batch": 12}],
    7: [{"mesh": "pp=7", "layers": 5, "micro_batches": 2, "batch": 2, "partition": "1,1,1,1,1,1,1"}],
    8: [
        {"mesh": "dp=2,tp=2,pp=2", "zero": 1, "batch": 8, "sequence": True, "dropout": 0.1},
        {"mesh": "tp=2,pp=4", "schedule": "zb-h1", "micro_batches": 5, "batch": 5, "recompute": True},
        {
            "model": "cnn",
            "data": "digits",
            **{name: getattr(Options, name) for name in ("layers", "width", "heads", "context")},  # a gpt's
            "mesh": "dp=4,pp=2",
            "batch": 8,
            "strategy": "overlap",
            "partition": "2,1",
        },
    ],
}


def staged(size, folder):
    for given in STAGED[size]:
        if given.get("schedule") == "table":
            (folder / "table.txt").write_text(TABLE)
            given = given | {"schedule": str(folder / "table.txt")}
        yield Options(**SMALL | given)


def test_the_sweep_has_every_schedule_and_every_stage_of_zero():
    every = [given for of in STAGED.values() for given in of]
    pipelines = [given for given in every if "pp" in given.get("mesh", "")]
    assert {given.get("schedule", "1f1b") for given in pipelines} == {*SCHEDULES, "table"}
    assert {given.get("zero", 0) for given in every} == {0, 1, 2, 3}
    assert {given.get("zero", 0) for given in pipelines} == {0, 1, 2}


@pytest.mark.parametrize("size", range(1, 9))
def test_no_correct_pipeline_or_zero_is_accused(size, tmp_path):
    for options in staged(size, tmp_path):
        found = mp.virtual.run(lambda world, options=options: certify_job(options, world), size)[0]
        assert found.equal and found.largest < LIMIT / 100, f"{options.words()}: {found}"


@ranks(1, 2, 3, 4, virtual=())
def test_no_correct_pipeline_or_zero_is_accused_on_real_ranks(world):
    with TemporaryDirectory() as folder:
        for options in staged(world.size, Path(folder)):
            found = certify_job(options, world)
            assert found.equal and found.largest < LIMIT / 100, f"{options.words()}: {found}"


@ranks(1, 2, 3, 4, virtual=())
def test_no_correct_layout_is_accused_on_real_ranks(world):
    for options in list(sweep(world.size))[:3]:
        found = certify_job(options, world)
        assert found.equal and found.largest < LIMIT / 100, f"{options.words()}: {found}"


def test_a_layout_with_other_names_is_refused():
    make, _ = mlp_with(dp=1)
    _, serial = gpt_with()
    with pytest.raises(LayoutError, match=r"only one of the layout and its serial twin has 0\.bias"):
        verdict((make, serial), size=1)


def test_too_few_batches_are_refused():
    with pytest.raises(OptionError, match="there are only 2 batches; give more, or fewer steps"):
        verdict(mlp_with(dp=2), X[:2], CLASSES[:2], size=2)


def test_a_mistake_that_nobody_knows_is_a_wrong_value():
    class Wrong(ColumnLinear):
        def forward(self, x):
            y = super().forward(x)
            return y * y

    found = verdict(mlp_with(Wrong, ColumnLinear, tp=2), size=2)
    assert found.difference.cause == "a wrong value" and found.difference.ranks == (0, 1)


UNLIKE = {
    "rate": ((lambda model: adam(model, 0.02), {}), (adam, {}), "parameter of 0.weight in step 1"),
    "optimizer": ((lambda model: SGD(model.parameters(), lr=0.01), {}), (adam, {}), "parameter of 0.weight"),
    "clip": (
        (adam, {"clip": 0.01}),
        (adam, {}),
        "another clipping (clip=0.01, and the serial twin has clip=0)",
    ),
    "frozen": ((adam, {}), (freezes, {}), "parameter of 0.bias in step 1"),
}


@pytest.mark.parametrize("name", UNLIKE)
def test_trainings_that_are_unlike_differ(name):
    *ways, words = UNLIKE[name]
    found = verdict(unlike(*ways), size=2)
    assert not found.equal and words in str(found), str(found)


def clipped_wrongly(wrong):
    """Adam at tp=2, clipped in a wrong way."""
    make, serial = unlike((adam, {"clip": 0.1}), (adam, {"clip": 0.1}))

    def broken(world):
        training = make(world)
        training.__class__ = wrong
        return training

    return broken, serial


class ClipsByTheLocalNorm(Training):
    def _clip(self):
        clip_grad_norm(self.model.parameters(), self.clip)


class ClipsEachAlone(Training):
    """Counts what all tp ranks have once a rank."""

    def _clip(self):
        own = to_host(grad_norm(self.model.parameters())) ** 2
        norm = np.sqrt(to_host(self.mesh["tp"].allreduce(asarray(own.reshape(1)))))
        clip_grad_norm(self.model.parameters(), self.clip, asarray(norm)[0])


class ForgetsToClip(Training):
    def _clip(self):
        pass


@pytest.mark.parametrize(
    "wrong, cause, words",
    [
        (ClipsByTheLocalNorm, "clipped by a local norm", "of this rank's own parts, not"),
        (ClipsEachAlone, "another clipping", "ask for another"),
        (ForgetsToClip, "another clipping", "times 1, where the norm"),
    ],
)
def test_clipping_by_a_wrong_norm_is_named_in_the_first_step(wrong, cause, words):
    found = verdict(clipped_wrongly(wrong), size=2)
    assert found.difference.step == 1 and found.difference.kind == "clipped gradient", str(found)
    assert (found.difference.cause, words in str(found)) == (cause, True), str(found)


@pytest.mark.parametrize("given", [{"optimizer": "adam", "lr": 0.1}, {"optimizer": "sgd", "lr": 1.0}])
def test_rounding_does_not_grow_with_the_steps_of_a_chaotic_training(given):
    options = Options("gpt", context=16, width=32, batch=10, mesh="dp=2,tp=2", **given)
    found = mp.virtual.run(lambda world: certify_job(options, world, 50), 4)[0]
    assert found.equal and found.largest < LIMIT / 1000, str(found)


def test_the_first_difference_is_in_the_order_of_computation():
    """Two mistakes: the output of the first layer, and every gradient."""
    make, serial = mlp_with(LowPrecision, ColumnLinear, dp=2, tp=2, replica=Summed)
    found = verdict((make, serial)).difference
    assert (found.kind, found.name, found.step, found.ranks) == ("output", "0", 1, (0, 1, 2, 3))
