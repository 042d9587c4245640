"""Pipelines against their serial twins: loss, gradients, messages, and what is held."""

import tracemalloc
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from ranks import ranks

import mpipar as mp
from mpipar import nn
from mpipar.arrays import BACKEND, asarray, to_host
from mpipar.comm.network import Link, Topology
from mpipar.errors import GraphError, LabelError, LayoutError, OptionError, ScheduleError, ShapeError
from mpipar.optim import clip_grad_norm, grad_norm
from mpipar.parallel import DataParallel, Mesh, Pipeline, global_grad_norm, gpt, whole
from mpipar.parallel.pipeline_batch import Losses
from mpipar.schedule import Action, Schedule, build, parse, peaks
from mpipar.tensor import cross_entropy, mse
from mpipar.trace import read

DRAW = np.random.default_rng(0)
WIDTHS = [8, 9, 10, 11, 12, 11, 10, 9, 5]  # 8 layers: two a rank at 4 ranks
X, Y = DRAW.standard_normal((12, 8)), DRAW.integers(0, 5, 12)
IDS, LABELS = DRAW.integers(0, 24, (8, 12)), DRAW.integers(0, 24, (8, 12))
LABELS[0, 1:] = LABELS[3, :5] = -100  # so micro-batches have different numbers of labels
GPT = {"vocabulary": 24, "context": 16, "width": 16, "layers": 6, "heads": 4, "dtype": np.float64}


def mlp(seed=None, dropout=0.3):
    layers = [nn.Linear(a, b, dtype=np.float64) for a, b in pairwise(WIDTHS)]
    return nn.Sequential(*(m for one in layers for m in (one, nn.Tanh(), nn.Dropout(dropout))), seed=seed)


def there_and_back(ranks, micros):
    """Rank r has stages r and 2P-1-r, so the last rank hands on to itself; one micro-batch at a time."""
    rows = [[] for _ in range(ranks)]
    for micro in range(micros):
        way = [Action(stage, "F", micro) for stage in range(2 * ranks)]
        for action in way + [a._replace(kind="B") for a in reversed(way)]:
            rows[min(action.stage, 2 * ranks - 1 - action.stage)].append(action)
    return Schedule("there and back", tuple(map(tuple, rows)))


def close(mine, expected, name=""):
    np.testing.assert_allclose(to_host(mine), to_host(expected), rtol=1e-9, atol=1e-13, err_msg=name)


def assert_same_gradients(pipeline, serial, tp=None):
    twins = dict(serial.named_parameters())
    for name, p in pipeline.named_parameters():
        assert name == p.name
        grad = p.grad if tp is None else whole(p, p.grad, tp)
        close(grad, twins[name].grad, name)


def check_schedules(world, recompute):
    p = world.size
    schedules = [(name, 4, {}) for name in ("naive", "gpipe", "1f1b", "zb-h1", "zb-h2")]
    schedules += [("interleaved", 12, {"virtual": 2}), (there_and_back(p, 3), None, {})]
    for schedule, micros, more in schedules:
        serial = mlp(seed=1)
        pipeline = Pipeline(
            mlp(),
            world,
            schedule,
            micro_batches=micros,
            recompute=recompute,
            loss=cross_entropy,
            seed=1,
            **more,
        )
        for _ in range(2):  # dropout draws other masks each time
            serial.zero_grad()
            pipeline.model.zero_grad()
            expected = cross_entropy(serial(mp.Tensor(asarray(X))), asarray(Y))
            expected.backward()
            loss = pipeline.step(asarray(X), asarray(Y))
            assert (loss is not None) == pipeline.is_last
            close(pipeline.broadcast(loss), expected.data)
            assert_same_gradients(pipeline, serial)
            assert pipeline.peak == peaks(pipeline.schedule)[world.rank]


@ranks(1, 2, 3, 4)
def test_every_schedule_equals_the_serial_twin(world):
    check_schedules(world, recompute=False)


@ranks(2, virtual=(1, 2, 3, 4))
def test_recomputation_changes_nothing(world):
    check_schedules(world, recompute=True)


@ranks(1, 2, 3, 4)
def test_gpt_with_tied_embeddings_equals_the_serial_twin(world):
    """The labels that count are not shared equally by the micro-batches."""
    for tied, schedule, virtual in ((True, "1f1b", 1), (True, "interleaved", 2), (False, "zb-h1", 1)):
        config = GPT | {"tied": tied, "dropout": 0.2}
        serial = nn.GPT(**config, seed=3)
        micros = world.size if virtual > 1 else 2
        ids, labels = (asarray(a[: 8 // micros * micros]) for a in (IDS, LABELS))
        pipeline = Pipeline(nn.GPT(**config), world, schedule, micro_batches=micros, virtual=virtual, seed=3)
        for _ in range(2):
            pipeline.model.zero_grad()
            serial.zero_grad()
            expected = serial.loss(ids, labels)
            expected.backward()
            close(pipeline.broadcast(pipeline.step(ids, labels)), expected.data)
            assert_same_gradients(pipeline, serial)
        tie = pipeline.ties.elsewhere
        assert len(tie) == (tied and world.size > 1 and pipeline.is_last)
        assert len(pipeline.parameters_once()) == len(list(pipeline.parameters())) - len(tie)


def train_on(world, sizes, sequence, strategy, schedule, recompute=False):
    """Two clipped steps of AdamW on a mesh, against the serial twin."""
    mesh = Mesh(world, **sizes)
    config = GPT | {"dropout": 0.1, "layers": 2}
    serial = nn.GPT(**config, seed=3)
    pipeline = Pipeline(
        gpt(config, mesh, sequence), mesh["pp"], schedule, micro_batches=2, recompute=recompute, seed=3
    )
    replica = DataParallel(pipeline.model, mesh["dp"], strategy, bucket_bytes=4000)
    optimizers = [mp.optim.AdamW(m.parameters(), lr=1e-2) for m in (serial, pipeline)]
    labels = np.abs(LABELS) % 24  # all count, for dp weighs its ranks by their samples
    part = np.split(np.arange(8), mesh["dp"].size)[mesh["dp"].rank]
    rows = slice(part[0], part[-1] + 1)
    for _ in range(2):
        for optimizer in optimizers:
            optimizer.zero_grad()
        expected = serial.loss(asarray(IDS), asarray(labels))
        expected.backward()
        averaging = replica.averaging(len(part) / 8)
        loss = pipeline.step(asarray(IDS[rows]), asarray(labels[rows]), (rows.start, rows.stop, 8), averaging)
        loss = mesh["dp"].allreduce(np.array([pipeline.broadcast(loss)]), "mean")
        close(loss[0], expected.data)
        assert_same_gradients(pipeline, serial, mesh["tp"])
        norm = global_grad_norm(pipeline.parameters_once(), mesh)
        close(norm, grad_norm(serial.parameters()))
        clip_grad_norm(pipeline.parameters(), 0.5, norm)
        clip_grad_norm(serial.parameters(), 0.5)
        for optimizer in optimizers:
            optimizer.step()
    replica.verify()
    for name, p in pipeline.named_parameters():
        close(whole(p, p.data, mesh["tp"]), dict(serial.named_parameters())[name].data, name)
    return mesh.coordinates, np.array(to_host(dict(pipeline.named_parameters())["tokens.weight"].data))


@ranks(4)
def test_two_data_and_two_pipeline_ranks_train_as_the_serial_twin(world):
    train_on(world, {"dp": 2, "pp": 2}, False, "overlap", "1f1b")


@pytest.mark.parametrize(
    ("sequence", "strategy", "schedule", "recompute"),
    [(True, "bucketed", "1f1b", True), (False, "overlap", "zb-h1", False), (True, "flat", "zb-h2", False)],
)
def test_three_axes_train_as_the_serial_twin(sequence, strategy, schedule, recompute):
    more = (sequence, strategy, schedule, recompute)
    found = mp.virtual.run(lambda world: train_on(world, {"dp": 2, "tp": 2, "pp": 2}, *more), 8)
    for coordinates, weight in found:  # both copies of the tied weights stayed equal, bit for bit
        same = [w for c, w in found if c["tp"] == coordinates["tp"]]
        assert len(same) == 4 and all(np.array_equal(w, weight) for w in same)


def test_the_stages_have_names_and_values_of_the_whole_and_draw_no_others():
    whole_model = nn.GPT(**GPT, seed=3).state_dict()

    def states(world):
        model = nn.GPT(**GPT)
        pipeline = Pipeline(model, world, partition=[3, 3, 2], seed=3)
        drawn = {name for name, p in model.named_parameters(remove_duplicate=False) if p.drawn}
        return pipeline.model.state_dict(), drawn, [m.path for m in pipeline.stages[world.rank]._dropouts]

    found = mp.virtual.run(states, 3)
    assert sorted(whole_model) == sorted(name for state, _, _ in found for name in state)
    for state, drawn, _ in found:
        ties = {"tokens.weight", "head.weight"}
        assert drawn == set(state) | (ties if ties & set(state) else set())
        assert all(np.array_equal(value, whole_model[name]) for name, value in state.items())
    assert found[2][2] == ["layers.5.dropout1", "layers.5.dropout2"]


def test_messages_are_two_a_micro_batch_and_boundary_and_one_header(tmp_path):
    """Stages of one layer, so activations behind layer i are of its width; the header comes once."""

    def steps(world):
        pipeline = Pipeline(mlp(), world, "1f1b", micro_batches=4, loss=cross_entropy, seed=1)
        for rows in (12, 12, 8):
            pipeline.model.zero_grad()
            pipeline.step(asarray(X[:rows]), asarray(Y[:rows]))

    mp.virtual.run(steps, 4, trace=tmp_path)
    trace = read(tmp_path)
    sent = Counter((r, e.peer, e.bytes) for r in range(4) for e in trace.ranks[r].events if e.op == "isend")
    expected = Counter()
    for rank, width in enumerate([WIDTHS[2], WIDTHS[4], WIDTHS[6]]):
        for a, b in ((rank, rank + 1), (rank + 1, rank)):
            expected[a, b, 8 * 3 * width] += 8
            expected[a, b, 8 * 2 * width] += 4
        expected[rank, rank + 1, 128] += 2  # one for each shape of a batch
    assert sent == expected
    scopes = Counter(
        (e.scope, e.micro) for e in trace.ranks[1].events if e.op == "scope" and e.scope.count("/") < 2
    )
    actions = [(f"pipeline 1f1b/{a}", a.micro) for a in build("1f1b", 4, 4).rows[1]]
    assert scopes == Counter([("pipeline 1f1b", -1), *actions] * 3)


def test_waits_for_other_stages_are_counted():
    """A message takes 1 s, the loss 0.5 s, all else nothing: so all else is waiting."""
    slow = Topology((Link(1.0, 0.0),) * 3, gamma=0.0, ranks_per_socket=1, sockets_per_node=1)

    def step(world):
        def loss(output, y):
            world.pause(0.5)
            return cross_entropy(output, y)

        pipeline = Pipeline(mlp(), world, "naive", micro_batches=1, loss=loss, seed=1)
        start = world.wtime()
        pipeline.step(asarray(X), asarray(Y))
        return world.wtime() - start, pipeline.waited

    (first, waited), (last, also_waited) = mp.virtual.run(step, 2, network=slow)
    assert waited == pytest.approx(first) == pytest.approx(2.5)
    assert also_waited == pytest.approx(last - 0.5)


def test_a_recomputing_pipeline_holds_less_and_has_bitwise_equal_gradients():
    """GPipe holds the graphs of all 8 micro-batches, or their inputs."""

    def step(world, recompute):
        model = nn.Sequential(*(m for _ in range(4) for m in (nn.Linear(64, 64), nn.GELU())))
        pipeline = Pipeline(
            model, world, "gpipe", micro_batches=8, loss=mse_of_zero, seed=1, recompute=recompute
        )
        x = asarray(np.random.default_rng(1).standard_normal((512, 64)).astype(np.float32))
        tracemalloc.start()
        pipeline.step(x, x)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak, [to_host(p.grad) for p in pipeline.parameters()]

    def mse_of_zero(output, y):
        return mse(output, output.detach() * 0)

    (held, grads), (recomputed, again) = (mp.virtual.run(step, 1, args=(flag,))[0] for flag in (False, True))
    assert all(np.array_equal(a, b) for a, b in zip(grads, again, strict=True))
    if BACKEND == "numpy":
        assert recomputed < held / 3


@ranks(1, 2, virtual=(3,))
def test_predictions_are_those_of_the_whole(world):
    serial = mlp(seed=1).eval()
    for schedule, virtual in (("1f1b", 1), ("interleaved", 2)):
        pipeline = Pipeline(
            mlp(), world, schedule, micro_batches=world.size, virtual=virtual, loss=cross_entropy, seed=1
        )
        pipeline.model.eval()
        output = pipeline.predict(asarray(X[:5]))
        assert (output is not None) == pipeline.is_last
        if output is not None:
            close(output.data, serial(mp.Tensor(asarray(X[:5]))).data)


def test_a_table_from_a_file_and_frozen_layers(tmp_path):
    """The first stage is frozen, so nothing is computed backward there."""
    (tmp_path / "mine.txt").write_text("rank 0: F0 F1 B0 I1 W1\nrank 1: F0 I0 W0 F1 B1\n")

    def step(world):
        model = mlp(dropout=0)
        layers = model.chain()
        for layer in layers[:5]:
            for module in layer.modules.values():
                module.requires_grad_(False)
        pipeline = Pipeline(model, world, str(tmp_path / "mine.txt"), loss=cross_entropy, seed=1)
        pipeline.step(asarray(X), asarray(Y))
        return pipeline.schedule.name, {name: p.grad for name, p in pipeline.named_parameters()}

    (name, none), (_, grads) = mp.virtual.run(step, 2)
    assert name == "mine" and set(none.values()) == {None}
    serial = mlp(seed=1, dropout=0)
    cross_entropy(serial(mp.Tensor(asarray(X))), asarray(Y)).backward()
    for name, p in serial.named_parameters():
        if name in grads and int(name.split(".")[0]) >= 15:
            close(grads[name], p.grad, name)
        elif name in grads:
            assert grads[name] is None


def refusal(ranks, error, call):
    """The sentence that every rank raises."""

    def each(world):
        with pytest.raises(error) as raised:
            call(world)
        return str(raised.value)

    sentences = mp.virtual.run(each, ranks)
    assert len(set(sentences)) == 1
    return sentences[0]


def step_of(x=X, y=Y, steps=1, rows=None, **options):
    def call(world):
        pipeline = Pipeline(mlp(), world, loss=cross_entropy, seed=1, **options)
        for _ in range(steps):
            pipeline.step(asarray(x), asarray(y), rows)

    return call


def test_mistakes_are_one_sentence_on_all_ranks(tmp_path):
    said = refusal(2, LayoutError, step_of(micro_batches=5))
    assert "a batch of 12 samples does not divide into 5 micro-batches" in said
    said = refusal(9, LayoutError, step_of())
    assert "8 layers cannot fill 9 stages; use at most 8 stages, or more layers" in said
    said = refusal(3, LayoutError, step_of(schedule=build("1f1b", 2, 4)))
    assert "schedule 1f1b is for 2 ranks, but the pipeline has 3; start 2 ranks of pp" in said
    said = refusal(2, LayoutError, step_of(schedule=build("1f1b", 2, 4), micro_batches=3))
    assert "schedule 1f1b has 4 micro-batches, not 3" in said
    said = refusal(2, ScheduleError, step_of(schedule=parse("rank 0: F0\nrank 1: F0 B0")))
    assert "rank 0 never runs 0B0; add it" in said
    said = refusal(2, OptionError, step_of(schedule="1f2b"))
    assert "there is no schedule and no file '1f2b'" in said
    said = refusal(2, OptionError, step_of(partition="size"))
    assert "partition='size' is unknown; choose one of count, parameters" in said
    said = refusal(2, LayoutError, step_of(partition=[3, 4]))
    assert "sizes [3, 4] are 7 layers, but the model has 8" in said
    said = refusal(2, GraphError, step_of(steps=2))
    assert "the gradients of an earlier step are still there" in said
    said = refusal(2, ShapeError, step_of(rows=(0, 6, 12)))
    assert "12 rows of x, but rows=(0, 6, 12) are 6" in said
    said = refusal(2, OptionError, lambda world: Pipeline(nn.Linear(2, 2, seed=0), world, loss=mse))
    assert "Linear does not tell its own" in said
    said = refusal(2, OptionError, lambda world: Pipeline(mlp(), world))
    assert "Sequential has no criterion; give the pipeline loss=" in said


def test_a_batch_without_labels_is_refused():
    def step(world):
        Pipeline(nn.GPT(**GPT), world, seed=3).step(asarray(IDS), asarray(np.full_like(LABELS, -100)))

    with pytest.raises(LabelError, match="no label of the batch differs from -100"):
        mp.virtual.run(step, 2)


def test_the_loss_has_the_dtype_of_the_output_though_labels_are_counted_in_float64():
    losses, y = Losses(nn.GPT(**GPT)), asarray(np.array([0, 2, -100]))
    output = mp.Tensor(asarray(np.zeros((3, 4), np.float32)), requires_grad=True)
    loss = losses(output, y, losses.weight([y]))
    loss.backward()
    assert loss.dtype == output.grad.dtype == np.float32
    assert loss.item() == pytest.approx(np.log(4))
