"""A text as a sequence of characters, for language models.

Every character that occurs is a word of the vocabulary, numbered in the order of its code
point. A model sees x = ids[i : i+block] and is to answer y = ids[i+1 : i+block+1], the next
character at every place.
"""

from pathlib import Path
from typing import Any

import numpy as np

from mpipar.errors import DataError, OptionError


class Text:
    """A text, its vocabulary and its split.

    source: the text
    validation: the share of it, at its end, that is kept for validation
    train, validation: int64 arrays of ids, in the text's order
    errors: DataError for an empty text
    """

    def __init__(self, source: str, *, validation: float = 0.1) -> None:
        if not source:
            raise DataError("the text is empty; give one with at least a few hundred characters")
        if not 0 <= validation < 1:
            raise OptionError(
                f"validation={validation} is not a share; choose from 0 up to, not including, 1"
            )
        points = _code_points(source)
        self._points, ids = np.unique(points, return_inverse=True)
        self.vocabulary = "".join(map(chr, self._points))
        cut = len(ids) - int(validation * len(ids))
        self.train, self.validation = ids[:cut], ids[cut:]

    def __repr__(self) -> str:
        parts = f"{len(self.train)} + {len(self.validation)} characters"
        return f"Text({parts}, vocabulary of {len(self.vocabulary)})"

    def encode(self, text: str) -> np.ndarray:
        """ids (len(text),) int64.   errors: DataError for a character the text does not have."""
        points = _code_points(text)
        ids = np.searchsorted(self._points, points)
        known = self._points[np.minimum(ids, len(self._points) - 1)] == points
        if not known.all():
            at = int(np.argmin(known))
            raise DataError(
                f"character {text[at]!r} at {at} is not among the {len(self.vocabulary)} of the "
                "vocabulary; leave it out, or build the Text from a source that has it"
            )
        return ids.astype(np.int64)

    def decode(self, ids: Any) -> str:
        """The text of an array or list of ids.   errors: DataError for one outside the vocabulary."""
        ids = np.asarray(ids, dtype=np.int64).reshape(-1)
        wrong = ids[(ids < 0) | (ids >= len(self._points))]
        if len(wrong):
            raise DataError(
                f"id {wrong[0]} is not in a vocabulary of {len(self._points)}; "
                "is the model's vocabulary that of this text?"
            )
        return "".join(map(chr, self._points[ids]))

    def blocks(
        self, block: int, *, split: str = "train", stride: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """x, y (n, block): pieces of the text and the same pieces one character on.

        stride: characters from one piece to the next, block where left out (no overlap)
        cost: none; both are read-only views of the ids
        errors: DataError where the split is shorter than block + 1 characters
        """
        if split not in ("train", "validation"):
            raise OptionError(f"split={split!r} is unknown; choose train or validation")
        stride = block if stride is None else stride
        if block < 1 or stride < 1:
            raise OptionError(f"block={block}, stride={stride}: both must be at least 1")
        ids = self.train if split == "train" else self.validation
        if len(ids) < block + 1:
            raise DataError(
                f"a block of {block} needs {block + 1} characters, the {split} split has {len(ids)}; "
                "choose a smaller block, a longer text or another validation="
            )
        pieces = np.lib.stride_tricks.sliding_window_view(ids, block + 1)[::stride]
        return pieces[:, :-1], pieces[:, 1:]


def text(path: str | Path | None = None, *, encoding: str = "utf-8", validation: float = 0.1) -> Text:
    """The Text of a file, by default Python's own help topics (465 kB of English).

    The default is `pydoc_data.topics`, which changes with each Python version: all ranks
    must run the same one. For numbers to be compared across machines, name a file.
    errors: DataError for a file that is missing, empty or not in `encoding`
    """
    if path is None:
        from pydoc_data.topics import topics

        return Text("\n\n".join(topics.values()), validation=validation)
    try:
        source = Path(path).read_text(encoding=encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not {encoding}: byte 0x{error.object[error.start]:02x} at {error.start}; "
            "name its encoding=, for example latin-1"
        ) from error
    except LookupError as error:
        raise OptionError(f"encoding={encoding!r} is unknown to Python; utf-8 is the usual one") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check the path") from error
    if not source:
        raise DataError(f"{path} is empty; name a file with at least a few hundred characters")
    return Text(source, validation=validation)


def _code_points(source: str) -> np.ndarray:
    # surrogatepass: a lone surrogate is a character like any other here
    return np.frombuffer(source.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
