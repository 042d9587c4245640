"""The data of `mpipar train`: its name or file -> samples to train on and to test on."""

import zipfile
import zlib
from typing import Any, NamedTuple

import numpy as np

from mpipar.arrays import generator
from mpipar.data import digits, mnist, text
from mpipar.errors import DataError, OptionError
from mpipar.parallel.options import Options

IMAGES = {"digits": digits, "mnist": mnist}
TRAIN = 0.8  # of the samples of a file
ROUND_UP = 24  # a vocabulary that 2, 3, 4, 6, 8, 12 and 24 ranks can share


class Samples(NamedTuple):
    """Host arrays with a sample a row.   classes: of y; for gpt the words, rounded up to what ranks share"""

    x: np.ndarray
    y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    classes: int


def load(options: Options) -> Samples:
    """errors: DataError for a file that cannot serve; OptionError for data that is not the model's"""
    if options.model == "gpt":
        return _characters(options)
    data, images = options.source, options.model == "cnn"
    if data in IMAGES:
        parts = [IMAGES[data](split, dtype=options.dtype, images=images) for split in ("train", "test")]
        return Samples(*parts[0], *parts[1], 10)
    if data == "text":
        raise OptionError(f"--model {options.model} is for images: give --data digits, mnist or a .npz file")
    return _archive(data, images, options.dtype)


def _characters(options: Options) -> Samples:
    data = options.source
    if data in IMAGES:
        raise OptionError(f"--data {data} are images; give --model mlp or cnn, or --data text or a file")
    source = text(None if data == "text" else data)
    shortest = min(len(source.train), len(source.validation))
    if shortest <= options.context:
        fits = f"give --context {shortest - 1} or less" if shortest > 1 else "give a longer text"
        raise DataError(
            f"--context {options.context} needs {options.context + 1} characters, but the tenth of the text "
            f"that is kept for testing has {shortest}; {fits}"
        )
    pieces = [source.blocks(options.context, split=split) for split in ("train", "validation")]
    words = -(-len(source.vocabulary) // ROUND_UP) * ROUND_UP
    return Samples(*pieces[0], *pieces[1], words)


def _archive(path: str, images: bool, dtype: Any) -> Samples:
    x, y = _read(path)
    _check_arrays(path, x, y)
    if images and x.ndim not in (3, 4):
        raise DataError(f"{path}: x {x.shape} are no images; give (n, height, width), or --model mlp")
    shape = (-1,) if not images else x.shape[1:] if x.ndim == 4 else (1, *x.shape[1:])
    with np.errstate(over="ignore"):  # found below
        x, y = x.reshape(len(x), *shape).astype(dtype), y.astype(np.int64)
    finite = np.isfinite(x).reshape(len(x), -1).all(axis=1)
    if not finite.all():
        raise DataError(
            f"{path}: sample {finite.argmin()} of x is not finite in {dtype} ({(~finite).sum()} of {len(x)} "
            "are not); leave such samples out, or replace their nan and inf"
        )
    order, cut = generator(0, "split", len(y)).permutation(len(y)), max(int(TRAIN * len(y)), 1)
    train, test = order[:cut], order[cut:]
    return Samples(x[train], y[train], x[test], y[test], int(y.max()) + 1)


def _read(path: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(path) as archive:
            return archive["x"], archive["y"]
    except FileNotFoundError:
        reason = "there is no such file"
    except OSError as error:
        reason = error.strerror or "it is cut off"
    except KeyError:
        reason = "it has no x or no y"
    except (ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error):
        reason = "it is no archive of arrays of numbers"
    raise DataError(
        f"--data {path} cannot be read ({reason}); give digits, mnist or a .npz file with x and y"
    )


def _check_arrays(path: str, x: np.ndarray, y: np.ndarray) -> None:
    if x.ndim < 2 or y.shape != x.shape[:1] or y.dtype.kind not in "iu" or len(y) < 2 or y.min() < 0:
        raise DataError(
            f"{path}: x {x.shape}, y {y.shape} {y.dtype}; x has a sample a row, and y its class from 0 on, "
            "whole numbers"
        )
    if x.dtype.kind not in "fiub" or not x.size:
        raise DataError(f"{path}: x {x.shape} {x.dtype}; give real numbers, at least one a sample")
    if y.max() >= len(y):
        raise DataError(
            f"{path}: y is up to {y.max()}, more classes than its {len(y)} samples; number the classes from "
            "0 on"
        )
