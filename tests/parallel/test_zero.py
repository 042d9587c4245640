"""ZeRO against serial training and the closed forms: values, bytes kept, bytes sent, and its mistakes."""

import copy
import gc
import tracemalloc
from contextlib import nullcontext

import numpy as np
import pytest
from ranks import ranks
from traced import traced

import mpipar as mp
from mpipar.arrays import BACKEND, asarray, to_host, xp
from mpipar.errors import GraphError, LayoutError, OptionError
from mpipar.nn import GPT, MLP, Linear, Module, Parameter, Sequential, Tanh
from mpipar.optim import SGD, AdaGrad, Adam, AdamW, CosineLR, clip_grad_norm
from mpipar.parallel import DataParallel, Mesh, Pipeline, ZeRO, gpt, whole_state_dict
from mpipar.parallel.memory import closed_form
from mpipar.tensor import cross_entropy

STAGES = (1, 2, 3)
DRAW = np.random.default_rng(0)
X, Y = DRAW.standard_normal((46, 12)), DRAW.integers(0, 5, 46)
IDS = DRAW.integers(0, 12, (18, 7))
RULES = {
    "sgd": (SGD, {"lr": 0.3, "weight_decay": 0.01}, 0),
    "momentum": (SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}, 1),
    "adagrad": (AdaGrad, {"lr": 0.05, "initial_accumulator_value": 0.1}, 1),
    "adam": (Adam, {"lr": 0.01}, 2),
    "adamw": (AdamW, {"lr": 0.01, "weight_decay": 0.1}, 2),
}


def mlp(widths=(12, 16, 8, 5), dtype=np.float64):
    return MLP(widths, seed=0, dtype=dtype)


def transformer():
    return GPT(12, 6, 8, 2, 2, seed=0, dtype=np.float64)


def data(model):
    return (IDS[:, :-1], IDS[:, 1:]) if isinstance(model, GPT) else (X, Y)


def loss(model, x, y):
    x = asarray(np.ascontiguousarray(x)) if isinstance(x, np.ndarray) else x
    return model.loss(x if isinstance(model, GPT) else mp.Tensor(x), asarray(y))


def train(
    model,
    optimizer,
    rank,
    size,
    averaging,
    clip,
    *,
    batch_size=46,
    weights=None,
    parts=1,
    each=False,
    epochs=2,
):
    """each: an averaging for each micro-batch, instead of one for all"""
    x, y = data(model)
    schedule = CosineLR(optimizer, 7, warmup=2)
    sampler = mp.data.DistributedSampler(len(x), rank, size, batch_size, seed=1, weights=weights)
    norms = []

    def backward(part):
        if len(part.y):
            (loss(model, part.x, part.y) * part.weight).backward()

    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        for batch in mp.data.Loader(x, y, sampler):
            optimizer.zero_grad()
            *early, last = mp.data.micro_batches(batch, parts)
            for part in early:
                with averaging(batch.share if len(part.y) else 0.0) if each else nullcontext():
                    backward(part)
            with averaging(batch.share if len(last.y) or not each else 0.0):
                backward(last)
            norms.append(float(to_host(clip())))
            optimizer.step()
            schedule.step()
    return norms


def alone(model, rule, clip=0.05, groups=None, **how):
    make, settings, _ = RULES[rule]
    optimizer = make(model.parameters() if groups is None else groups(model), **settings)
    norms = train(
        model, optimizer, 0, 1, lambda share: nullcontext(), lambda: clip_grad_norm(model.parameters(), clip),
        **how,
    )  # fmt: skip
    return model, norms


def together(model, world, stage, rule, clip=0.05, groups=None, **how):
    make, settings, _ = RULES[rule]
    given = None if groups is None else groups(model)
    zero = ZeRO(model, make, world, stage, parameters=given, bucket_bytes=600, **settings)
    if stage == 3:
        poison(zero.layers)
    norms = train(
        model, zero, world.rank, world.size, zero.averaging, lambda: zero.clip_grad_norm(clip), **how
    )
    return zero, norms


def poison(layers):
    """What is released becomes NaN, so that whatever is read too late is seen."""
    release = layers.release

    def release_and_spoil(layer):
        release(layer)
        for room in layer.rooms.values() if not layers.held else ():
            room.fill(np.nan)

    layers.release = release_and_spoil


def same_parameters(model, serial, what=""):
    for (name, p), q in zip(model.named_parameters(), serial.parameters(), strict=True):
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-9, atol=1e-12, err_msg=f"{name} {what}")


def two_groups(model):
    """Biases apart, without decay and with another rate: pieces end in the middle of groups."""
    every = list(model.parameters())
    return [
        {"params": [p for p in every if p.ndim > 1]},
        {"params": [p for p in every if p.ndim == 1], "weight_decay": 0.0, "lr": 0.02},
    ]


@ranks(1, 2, 3, 4)
def test_every_optimizer_equals_its_serial_twin(world):
    """With two groups, a schedule, clipping, and a last batch of one sample."""
    for rule in RULES:
        serial, expected = alone(mlp(), rule, groups=two_groups, batch_size=15, epochs=1)
        assert min(expected) > 0.05  # so clipping counts
        for stage in STAGES:
            model = mlp()
            zero, norms = together(model, world, stage, rule, groups=two_groups, batch_size=15, epochs=1)
            np.testing.assert_allclose(norms, expected, rtol=1e-9)
            with zero.gathered():
                same_parameters(model, serial, f"stage {stage}, {rule}")


@ranks(1, 2, 3, 4)
def test_a_tied_transformer_with_unequal_shares_and_micro_batches(world):
    unequal = [0.0, 3.0, 1.0, 1.5][: world.size] if world.size > 1 else [1.0]
    settings = [
        (STAGES, {"weights": unequal}),
        (STAGES, {"parts": 2}),
        (
            (1, 2),
            {"parts": 3, "batch_size": 7},
        ),  # some are empty, which stage 3 does not allow
        ((2, 3), {"parts": 3, "each": True}),
    ]
    for stages, how in settings:
        how = {"batch_size": 18, **how}
        serial, expected = alone(transformer(), "adamw", batch_size=how["batch_size"])
        for stage in stages:
            model = transformer()
            zero, norms = together(model, world, stage, "adamw", **how)
            np.testing.assert_allclose(norms, expected, rtol=1e-9)
            with zero.gathered():
                same_parameters(model, serial, f"stage {stage}, {how}")


@ranks(1, 2, 3, 4)
def test_the_same_rings_give_the_same_bits(world):
    """An allreduce by the ring is a reduce-scatter and an allgather; of stage 3 with all in one row."""
    mine = slice(world.rank, None, world.size)

    def steps(model, optimizer, averaging):
        for _ in range(3):
            optimizer.zero_grad()
            with averaging():
                cross_entropy(model(mp.Tensor(X[mine])), asarray(Y[mine])).backward()
            optimizer.step()

    for strategy, stages in (("bucketed", {1: None, 2: None}), ("flat", {3: []})):
        twin = mlp()
        replica = DataParallel(twin, world, strategy, bucket_bytes=600, algorithm="ring")
        steps(twin, AdamW(twin.parameters(), lr=0.01), replica.averaging)
        for stage, modules in stages.items():
            model = mlp()
            zero = ZeRO(
                model, AdamW, world, stage, modules=modules, bucket_bytes=600, algorithm="ring", lr=0.01
            )
            steps(model, zero, zero.averaging)
            with zero.gathered():
                assert all(
                    p.numpy().tobytes() == q.numpy().tobytes()
                    for p, q in zip(model.parameters(), twin.parameters(), strict=True)
                )


@ranks(2)
def test_stage_1_sums_where_backward_wrote(world):
    model = mlp()
    zero = ZeRO(model, SGD, world, lr=0.1)
    for complete in (True, False):
        zero.zero_grad()
        loss(model, X[:4], Y[:4]).backward()
        if not complete:
            zero.units[0].parameters[0].grad = None
        row = zero.units[0].gradients(zero=False)
        assert (row is zero.units[0].whole_grad) is complete
    assert zero.units[0].gradients(zero=True) is not zero.units[0].whole_grad


@ranks(2, 3)
def test_a_rank_with_share_0_counts_as_zero_whatever_it_has(world):
    serial = mlp()
    loss(serial, X, Y).backward()
    for stage in STAGES:
        model = mlp()
        zero = ZeRO(model, SGD, world, stage, lr=1.0)
        with zero.averaging(float(world.rank == 0)):
            loss(model, X if world.rank == 0 else X * np.nan, Y).backward()
        zero.step()
        with zero.gathered():
            for p, q in zip(model.parameters(), serial.parameters(), strict=True):
                np.testing.assert_allclose(p.numpy(), q.numpy() - to_host(q.grad), rtol=1e-9, atol=1e-12)


@ranks(1, 3)
def test_layers_that_share_a_weight(world):
    """It belongs to neither, so it is gathered around both."""

    def build():
        first, last = (Linear(12, 12, dtype=np.float64) for _ in range(2))
        last.weight = first.weight
        return Sequential(first, Tanh(), last, seed=0)

    serial, model = build(), build()
    optimizer = Adam(serial.parameters(), lr=0.01)
    zero = ZeRO(model, Adam, world, 3, lr=0.01)
    assert zero.memory_bytes()["gathered"] == 8 * (144 + 12)
    for _ in range(2):
        optimizer.zero_grad()
        cross_entropy(serial(mp.Tensor(X)), asarray(Y)).backward()
        optimizer.step()
        zero.zero_grad()
        with zero.averaging():
            y = model(mp.Tensor(X))
            assert not any(p.drawn for p in model.parameters())  # forgotten between forward and backward
            cross_entropy(y, asarray(Y)).backward()
        assert not any(p.drawn for p in model.parameters())
        zero.step()
    with zero.gathered():
        same_parameters(model, serial)


WIDTHS = (11, 24, 36, 12)  # each layer's numbers can be shared by 1, 2, 3 and 4 ranks
LAYERS = [24 * 12, 36 * 25, 12 * 37]


@ranks(1, 2, 3, 4)
def test_bytes_kept_are_the_closed_form(world):
    """16Ψ → 8Ψ + 8Ψ/N → 4Ψ + 12Ψ/N → 16Ψ/N and the largest layer, for AdamW in float32."""
    n, p = sum(LAYERS), world.size
    for rule, (make, settings, k) in RULES.items():
        for stage in STAGES:
            model = mlp(WIDTHS, np.float32)
            zero = ZeRO(model, make, world, stage, bucket_bytes=1, **settings)
            with zero.averaging():
                model.loss(mp.Tensor(np.ones((2, 11), "f")), asarray(np.zeros(2, int))).backward()
            zero.step()
            found = zero.memory_bytes()
            assert found == closed_form(n, p, stage, k, 4, max(LAYERS))
            total = sum(found.values()) - found["gathered"]
            assert (
                total
                == {1: 8 * n + 4 * k * n / p, 2: 4 * n + 4 * (1 + k) * n / p, 3: 4 * (2 + k) * n / p}[stage]
            ), rule
            assert found["gathered"] == (4 * 36 * 25 if stage == 3 else 0)


@ranks(1, 2, 3, 4)
def test_bytes_sent_are_twice_and_three_times_the_parameters(world):
    n, p, layers = sum(LAYERS), world.size, len(LAYERS)
    for stage in STAGES:
        model = mlp(WIDTHS, np.float32)

        def steps(comm, stage=stage, model=model):
            zero = ZeRO(model, AdamW, comm, stage, bucket_bytes=1, algorithm="ring")
            for _ in range(2):
                with comm.scope("step"):
                    with zero.averaging():
                        model.loss(mp.Tensor(np.ones((2, 11), "f")), asarray(np.zeros(2, int))).backward()
                    zero.step()
                    zero.zero_grad()

        trace = traced(world, steps)
        if trace is None:
            continue
        for of in trace.ranks.values():
            rings = {e.seq: e.op for e in of.events if e.scope.startswith("step") and e.algorithm == "ring"}
            hops = [e for e in of.events if e.parent in rings and e.op in ("send", "isend", "sendrecv")]
            passes = 2 if stage < 3 else 3
            assert sum(e.bytes for e in hops) == 2 * passes * 4 * n * (p - 1) / p
            ops = list(rings.values())
            units = 2 * layers if stage < 3 else layers  # buckets of a parameter each, or layers
            assert ops.count("reduce_scatter") == 2 * units
            assert ops.count("allgather") == 2 * units * (passes - 1)


@ranks(1, 2, 3, 4)
def test_gradients_leave_during_backward_and_only_pieces_stay(world):
    for stage in (2, 3):
        model = mlp()
        zero = ZeRO(model, SGD, world, stage, bucket_bytes=1)
        held, every = [], list(model.parameters())

        def count(_, held=held, every=every):
            held.append(sum(p.grad is not None for p in every))

        for p in every:
            p.register_post_accumulate_grad_hook(count)
        with zero.averaging():
            loss(model, X, Y).backward()
            late = [p.name for p in model.parameters() if p.grad is not None]
        assert late == []
        assert len(held) == 6 and max(held) == 2  # a weight and its bias come from one operation


DEEP = [512] * 9  # 8 layers of 1 MiB in float32


@ranks(1, 2, virtual=())
def test_memory_that_numpy_asked_for(world):
    """What is kept is the closed form; and in backward there are never all gradients."""
    if BACKEND != "numpy":
        return
    layer, only_numpy = 512 * 513, tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    for stage in (0, *STAGES):
        tracemalloc.start()
        model = mlp(DEEP, np.float32)
        if stage:
            zero = replica = ZeRO(model, SGD, world, stage, bucket_bytes=layer, momentum=0.9)
        else:
            zero, replica = SGD(model.parameters(), momentum=0.9), DataParallel(model, world)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        with replica.averaging():
            loss(model, np.ones((2, 512), "f"), np.zeros(2, int)).backward()
        peak = tracemalloc.get_traced_memory()[1] - before
        zero.step()
        gc.collect()
        kept = sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([only_numpy]).traces)
        tracemalloc.stop()
        del model, zero, replica
        expected = sum(closed_form(8 * layer, world.size, stage, 1, 4, layer).values())
        scratch = 2 * 4 * (1 << 15)  # of the optimizer
        assert expected <= kept <= expected + scratch + 10_000, stage
        if stage > 1:
            # a gradient, its copies in the row and in the reduce-scatter, a block that arrives, activations
            assert peak <= 4 * (5 * layer) + 1_500_000, stage


@ranks(4)
def test_with_tensor_parallelism(world):
    """Each tp rank shares its part of the model with its dp ranks; the norm is that of the whole."""
    config = {
        "vocabulary": 12,
        "context": 6,
        "width": 8,
        "layers": 2,
        "heads": 2,
        "seed": 0,
        "dtype": np.float64,
    }
    serial, expected = alone(transformer(), "adamw", batch_size=18)
    mesh = Mesh(world, dp=2, tp=2)
    dp = mesh["dp"]
    for stage in STAGES:
        model = gpt({**config, "dtype": np.float64}, mesh)
        zero = ZeRO(model, AdamW, dp, stage, lr=0.01, weight_decay=0.1)
        norms = train(
            model,
            zero,
            dp.rank,
            2,
            zero.averaging,
            lambda z=zero: z.clip_grad_norm(0.05, mesh),
            batch_size=18,
        )
        np.testing.assert_allclose(norms, expected, rtol=1e-9)
        with zero.gathered():
            for name, value in whole_state_dict(model, mesh["tp"]).items():
                np.testing.assert_allclose(value, serial.state_dict()[name], rtol=1e-8, atol=1e-12)


@ranks(4)
def test_with_a_pipeline(world):
    """Each stage is shared by its dp ranks; the tied embedding is on two stages, and counts once."""
    serial, expected = alone(transformer(), "adamw", batch_size=18)
    mesh = Mesh(world, dp=2, pp=2)
    dp = mesh["dp"]
    for stage in (1, 2):
        model = GPT(12, 6, 8, 2, 2, dtype=np.float64)
        pipeline = Pipeline(model, mesh["pp"], "1f1b", micro_batches=3, seed=0)
        zero = ZeRO(pipeline.model, AdamW, dp, stage, lr=0.01, weight_decay=0.1)
        schedule = CosineLR(zero, 7, warmup=2)
        sampler = mp.data.DistributedSampler(len(IDS), dp.rank, 2, 18, seed=1)
        for epoch, norm in enumerate(expected):
            sampler.set_epoch(epoch)
            (batch,) = mp.data.Loader(*(np.ascontiguousarray(a) for a in data(serial)), sampler)
            zero.zero_grad()
            pipeline.step(batch.x, batch.y)
            zero.average_gradients(batch.share)
            found = zero.clip_grad_norm(0.05, mesh, pipeline.parameters_once())
            np.testing.assert_allclose(to_host(found), norm, rtol=1e-9)
            zero.step()
            schedule.step()
        wanted = serial.state_dict()
        for name, p in pipeline.named_parameters():
            np.testing.assert_allclose(p.numpy(), wanted[name], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("stage", STAGES)
def test_parts_of_all_ranks_are_the_model(stage):
    """As a checkpoint takes them: ranges of flattened parameters, one behind the other, with their state."""

    def run(world):
        zero, _ = together(transformer(), world, stage, "adamw", batch_size=18)
        state = zero.optimizer.state_dict()["state"]
        owned = [p for group in zero.param_groups for p in group["params"]]
        with zero.gathered():
            for part in zero.parts:
                whole = part.parameter.numpy().reshape(-1)
                np.testing.assert_array_equal(part.own.numpy(), whole[part.start : part.stop])
        found = {p.name: state[i] for i, p in enumerate(owned)}
        return [(part.own.name, part.start, part.stop, found[part.own.name]) for part in zero.parts]

    serial = transformer()
    optimizer = AdamW(serial.parameters(), lr=0.01, weight_decay=0.1)

    def clip():
        return clip_grad_norm(serial.parameters(), 0.05)

    train(serial, optimizer, 0, 1, lambda share: nullcontext(), clip, batch_size=18)
    saved = [part for rank in mp.virtual.run(run, 4) for part in rank]
    for i, (name, p) in enumerate(serial.named_parameters()):
        of = sorted((start, stop, entry["step"]) for n, start, stop, entry in saved if n == name)
        assert [start for start, *_ in of] == [0, *(stop for _, stop, _ in of[:-1])] and of[-1][1] == p.size
        assert {step for *_, step in of} == {2}
        for n, start, stop, entry in saved:
            if n == name:
                wanted = optimizer.state_dict()["state"][i]["exp_avg_sq"].reshape(-1)[start:stop]
                np.testing.assert_allclose(entry["exp_avg_sq"], wanted, rtol=1e-9, atol=1e-20)


class Odd(Module):
    """Fewer numbers than ranks; `never` is not used, `single` is of another dtype."""

    def __init__(self):
        draw = np.random.default_rng(3)
        self.one = Parameter(draw.standard_normal((1, 1)))
        self.frozen = Parameter(draw.standard_normal((1, 2)), requires_grad=False)
        self.never = Parameter(draw.standard_normal(3))
        self.single = Parameter(draw.standard_normal(2).astype("f"))

    def forward(self, x):
        return (x @ self.one @ self.frozen).sum() + self.single.astype(np.float64).sum()


@ranks(1, 2, 3, 4)
def test_few_numbers_two_dtypes_frozen_and_unused(world):
    x = np.arange(8.0).reshape(8, 1)
    serial = Odd()
    optimizer = SGD([serial.one, serial.never, serial.single], lr=0.5)
    (serial(mp.Tensor(x)) * (1 / 8)).backward()
    optimizer.step()
    for stage in STAGES:
        model = Odd()
        zero = ZeRO(model, SGD, world, stage, unused="zero", bucket_bytes=1, lr=0.5)
        part = np.array_split(x, world.size)[world.rank]
        with zero.averaging(1.0):
            (model(mp.Tensor(part)) * (1 / 8)).backward()
        zero.step()
        with zero.gathered():
            got, want = ({name: p.numpy() for name, p in m.named_parameters()} for m in (model, serial))
        got["single"] = Odd().single.numpy() + (got["single"] - Odd().single.numpy()) / world.size
        for name, value in want.items():
            np.testing.assert_allclose(got[name], value, rtol=1e-6)


@ranks(1, 2)
def test_missing_gradients_and_steps_out_of_order_are_named(world):
    x, y = X[:2], Y[:2]
    for stage in STAGES:
        model = mlp()
        zero = ZeRO(model, SGD, world, stage, bucket_bytes=1)
        with pytest.raises(LayoutError, match=r"2\.bias|4\.bias|weight has no gradient on rank|0\.weight"):
            zero.average_gradients()
        with pytest.raises(LayoutError, match=r"step: gradients not averaged; call backward inside averag"):
            zero.step()
        if stage == 1:
            for _ in range(2):
                loss(model, x, y).backward()
                with (
                    nullcontext() if _ == 0 else pytest.raises(LayoutError, match="averaged twice in a step")
                ):
                    zero.average_gradients()
        else:
            with (
                pytest.raises(LayoutError, match=r"ZeRO: 4\.\w+ got another gradient after"),
                zero.averaging(),
            ):
                loss(model, x, y).backward()
                loss(model, x, y).backward()


def test_options_that_do_not_exist():
    def run(world):
        with pytest.raises(OptionError, match="ZeRO: stage=4; choose 1, 2 or 3, or DataParallel for 0"):
            ZeRO(mlp(), SGD, world, 4)
        with pytest.raises(OptionError, match="is no parameter of the model; pass the model's own"):
            ZeRO(mlp(), SGD, world, 1, parameters=mlp().parameters())
        with pytest.raises(OptionError, match="stage=5; choose 0, 1, 2 or 3"):
            closed_form(10, 2, 5, 2)

    mp.virtual.run(run, 1)


class View(Module):
    def __init__(self):
        self.table = Parameter(np.ones((3, 2)))

    def forward(self, x):
        return self.table[:2]


class Pair(Linear):
    def forward(self, x):
        return super().forward(x), x


def test_what_stage_3_cannot_gather():
    def run(world):
        x = mp.Tensor(X)
        model = mlp()
        ZeRO(model, SGD, world, 3)
        with pytest.raises(
            GraphError, match=r"0\.weight \(16, 12\) lies in pieces on several ranks, and is wh"
        ):
            model.state_dict()
        with pytest.raises(GraphError, match="read or write it inside `with zero"):
            next(model.parameters()).data = xp.zeros((16, 12))
        with pytest.raises(GraphError, match="lies in pieces"):
            copy.deepcopy(next(model.parameters()))
        model = Sequential(View())
        ZeRO(model, SGD, world, 3)
        with pytest.raises(LayoutError, match=r"View\.forward returns a view of its parameters"):
            model(x)
        model = Sequential(Pair(12, 3, dtype=np.float64, seed=0))
        ZeRO(model, SGD, world, 3)
        with pytest.raises(LayoutError, match=r"Pair\.forward returns a tuple; it must return a Tensor"):
            model(x)
        model = transformer()
        with pytest.raises(LayoutError, match="Linear lies in another layer"):
            ZeRO(model, SGD, world, 3, modules=[*model.layers, model.layers[0].linear1])

    mp.virtual.run(run, 1)


@ranks(1, 3)
def test_what_is_written_while_gathered_is_kept(world):
    for stage in STAGES:
        model = mlp()
        zero = ZeRO(model, SGD, world, stage)
        other = MLP((12, 16, 8, 5), seed=7, dtype=np.float64)
        with zero.gathered(), zero.gathered():
            model.load_state_dict(other.state_dict())
        with mp.no_grad():
            got = model(mp.Tensor(X)).numpy()
        np.testing.assert_array_equal(got, other(mp.Tensor(X)).numpy())
        assert model.num_parameters() == other.num_parameters()
