"""What `mpipar train` and `mpipar certify` are asked for, as a value that is checked before anything runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any

from mpipar.comm.collectives import ALGORITHMS
from mpipar.errors import LayoutError, OptionError
from mpipar.parallel.buckets import STRATEGIES
from mpipar.parallel.mesh import AXES, ordered, parse_mesh
from mpipar.schedule import SCHEDULES

LEARNING_RATES = {"sgd": 0.1, "momentum": 0.03, "adagrad": 0.01, "adam": 3e-3, "adamw": 3e-3}
CHOICES = {
    "model": ("mlp", "cnn", "gpt"),
    "optimizer": tuple(LEARNING_RATES),
    "schedule_lr": ("constant", "step", "cosine"),
    "strategy": STRATEGIES,
    "algorithm": ("auto", "native", *ALGORITHMS["allreduce"]),
    "dtype": ("float32", "float64"),
}
AT_LEAST_ONE = ("batch", "micro_batches", "virtual_stages", "epochs", "steps")
AT_LEAST_ONE += ("layers", "width", "heads", "context")
ONLY = {"mlp": ("widths",), "gpt": ("layers", "width", "heads", "context", "dropout")}  # of one model


def option(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"help": meaning})


@dataclass(frozen=True)
class Options:
    """One field an option of the command line, --micro-batches for micro_batches; None: see `filled`."""

    model: str = option("mlp", "mlp, cnn or gpt")
    data: str | None = option(None, "digits, mnist, text, or a file: .npz with x and y, or a text for gpt")
    mesh: str = option("", "as dp=2,tp=2,pp=2; by default dp is the number of ranks")
    order: str = option("pp,dp,ep,cp,tp", "axes, the one with the nearest ranks last")
    sequence: bool = option(False, "gpt: the tp ranks share the places, too")
    schedule: str = option("1f1b", f"pp: {', '.join(SCHEDULES)}, or the file of a table")
    virtual_stages: int = option(1, "pp: stages a rank, of interleaved")
    partition: str = option("count", "pp: layers to stages by count, parameters or time, or as 3,3,2")
    recompute: bool = option(False, "pp: keep only a stage's input for the backward")
    zero: int = option(0, "1 to 3: dp ranks share states, then gradients, too, then parameters")
    optimizer: str = option("adamw", "sgd, momentum, adagrad, adam or adamw")
    lr: float | None = option(None, "the learning rate; the default is the optimizer's")
    schedule_lr: str = option("constant", "constant, step (a tenth at 1/2 and 3/4) or cosine")
    warm_up: int = option(0, "steps in which the learning rate grows from 0")
    batch: int = option(64, "samples of a step, over all ranks")
    micro_batches: int | None = option(None, "parts of a rank's samples; by default 1, with pp as its ranks")
    epochs: int | None = option(None, "passes over the data; by default 10, of gpt 200 steps")
    steps: int | None = option(None, "stop after so many steps")
    strategy: str = option("bucketed", "of averaging gradients: naive, flat, bucketed or overlap")
    algorithm: str = option("auto", "of its allreduce")
    clip: float = option(0.0, "the largest norm of the gradients; 0: no clipping")
    dropout: float = option(0.0, "gpt: the share that is dropped")
    dtype: str = option("float32", "float32 or float64")
    seed: int = option(0, "of initial values, shuffling and dropout")
    widths: str = option("128,64", "mlp: widths between the data and the classes")
    layers: int = option(2, "gpt: blocks")
    width: int = option(64, "gpt: numbers a place")
    heads: int = option(4, "gpt: heads of attention")
    context: int = option(64, "gpt: places a sample")

    @property
    def sizes(self) -> dict[str, int]:
        """Of the mesh: {"dp": 2, "tp": 2}."""
        return parse_mesh(self.mesh) if self.mesh else {}

    @property
    def ranks(self) -> int:
        """How many the mesh has."""
        return math.prod(self.sizes.values())

    @property
    def source(self) -> str:
        """The data, also where nothing was said."""
        return self.data or ("text" if self.model == "gpt" else "digits")

    @property
    def whole_batches(self) -> bool:
        """Whether an epoch leaves its last batch out where that is short: not all ranks would take part."""
        return self.sizes.get("pp", 1) > 1 or self.zero == 3

    def hidden(self) -> tuple[int, ...]:
        """widths as numbers.   errors: OptionError"""
        words = [w.strip() for w in self.widths.split(",") if w.strip()]
        if not all(w.isdecimal() and int(w) > 0 for w in words):
            raise OptionError(f"--widths {self.widths!r} are no widths; write for example 128,64")
        return tuple(map(int, words))

    def words(self) -> list[str]:
        """The command line that gives these options, without those that have their default."""
        return words_of(self)


def words_of(options: Any) -> list[str]:
    """Of a dataclass whose fields are options."""
    said = []
    for one in fields(options):
        value, name = getattr(options, one.name), "--" + one.name.replace("_", "-")
        if value != one.default:
            said += [name] if value is True else [name, str(value)]
    return said


def check(options: Options, samples: int, vocabulary: int, features: int) -> None:
    """Refuse what cannot be met, with what would fit.

    samples: to train on;   vocabulary: words of gpt's text;   features: numbers of a sample, for mlp
    errors: OptionError, LayoutError
    """
    _check_values(options)
    axes = dict.fromkeys(AXES, 1) | options.sizes
    ordered(options.order, axes)
    for axis in ("cp", "ep"):
        if axes[axis] > 1:
            raise LayoutError(f"--mesh {options.mesh}: train offers the axes dp, tp and pp; leave {axis} out")
    if options.sequence and (options.model != "gpt" or axes["tp"] == 1):
        raise LayoutError("--sequence shares gpt's places among tp ranks; give --model gpt and a tp above 1")
    _check_zero(options)
    _check_batch(options, axes["dp"], samples)
    if axes["tp"] > 1:
        _check_tp(axes["tp"], _shared(options, vocabulary, features), options.model)


def _check_values(options: Options) -> None:
    for name, offered in CHOICES.items():
        if getattr(options, name) not in offered:
            raise OptionError(_say(options, name) + f" is unknown; choose one of {', '.join(offered)}")
    for name in AT_LEAST_ONE:
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise OptionError(_say(options, name) + " is too few; give 1 or more")
    for name in ("lr", "warm_up", "clip", "seed"):
        value = getattr(options, name)
        if value is not None and not 0 <= value < math.inf:
            raise OptionError(_say(options, name) + " is no number from 0 on; give one")
    if not 0 <= options.dropout < 1:
        raise OptionError(_say(options, "dropout") + " is no share from 0 up to below 1; give one")
    for model, name in ((model, name) for model, names in ONLY.items() for name in names):
        if options.model != model and getattr(options, name) != getattr(Options, name):
            raise OptionError(
                f"{_say(options, name)} is for {model}; leave it out with --model {options.model}, or give "
                f"--model {model}"
            )
    if options.strategy == "overlap" and options.algorithm not in ("auto", "ring"):
        raise OptionError(
            f"--strategy overlap starts rings; leave out {_say(options, 'algorithm')}, or choose bucketed"
        )
    options.hidden()
    if options.width % options.heads:
        heads = [n for n in range(1, options.width + 1) if options.width % n == 0]
        raise OptionError(
            f"{_say(options, 'heads')} cannot share --width {options.width}; {_listed(heads)} can"
        )


def _check_zero(options: Options) -> None:
    if options.zero not in (0, 1, 2, 3):
        raise OptionError(_say(options, "zero") + " is no stage; choose 0, 1, 2 or 3")
    for name in ("strategy", "algorithm"):
        if options.zero and getattr(options, name) != getattr(Options, name):
            raise OptionError(
                f"{_say(options, 'zero')} has its own way of averaging; leave {_say(options, name)} out"
            )
    if options.zero == 3 and options.sizes.get("pp", 1) > 1:
        raise LayoutError(
            f"--zero 3 gathers a layer around its forward, and --mesh {options.mesh} has stages, which keep "
            "theirs whole; give --zero 2"
        )


def _check_batch(options: Options, dp: int, samples: int) -> None:
    batch, micro = options.batch, options.micro_batches or 1
    if batch > samples:
        there = f"are {samples} samples; give {samples} or fewer" if samples > 1 else "is 1 sample; give 1"
        raise OptionError(f"--batch {batch}: there {there}")
    if batch < dp:
        raise LayoutError(f"--batch {batch} is not a sample a rank of dp={dp}; give --batch {dp} or more")
    if micro > batch // dp:
        raise LayoutError(
            f"--micro-batches {micro}: of a batch of {batch}, a rank of dp={dp} has {batch // dp}; "
            f"give {batch // dp} or fewer, or a larger batch"
        )


def _shared(options: Options, vocabulary: int, features: int) -> dict[str, int]:
    """What the tp ranks share, by name."""
    if options.model == "cnn":
        return {}
    if options.model == "gpt":
        places = {"places of the context": options.context} if options.sequence else {}
        return {"heads": options.heads, "words": vocabulary, "hidden numbers": 4 * options.width} | places
    layers = list(pairwise([features, *options.hidden(), 0]))
    # column and row by turns, the last a row: see nn/mlp.py
    shared = [out for _, out in layers[:-1:2]] + [layers[-1][0]] * (len(layers) % 2)
    return {f"numbers of width {size}": size for size in shared}


def _check_tp(tp: int, shared: dict[str, int], model: str) -> None:
    if not shared:
        raise LayoutError(f"tp={tp}: {model} has no tensor-parallel layers; give tp=1 and a larger dp")
    unfit = [f"{size} {name}" for name, size in shared.items() if size % tp]
    if unfit:
        common = math.gcd(*shared.values())
        fitting = [n for n in range(1, common + 1) if common % n == 0]
        sizes = " or ".join(unfit)
        raise LayoutError(f"tp={tp}: the ranks cannot share {sizes}; tp can be {_listed(fitting)} here")


def _say(options: Options, name: str) -> str:
    return f"--{name.replace('_', '-')} {getattr(options, name)}"


def _listed(numbers: Sequence[int]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} or {last}" if first else last
