"""What a process keeps, and how work is cut to fit the cache."""

import json

import numpy as np
import pytest
from ranks import run_python

from mpipar import arrays
from mpipar.arrays import asarray
from mpipar.arrays.memory import keep_freed_memory

FAULTS = """
import json, resource
import numpy as np
import mpipar.arrays
for i in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        x = np.ones(3 << 20, np.uint8); y = np.ones(5 << 20, np.uint8)
        del x, y
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before))
"""


@pytest.mark.skipif(not keep_freed_memory(), reason="this C library has no such setting")
def test_freed_memory_is_used_again():
    run = run_python(["-c", FAULTS], limit=60)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) < 200  # pages; without the setting up to 20 times 2,048


def test_another_c_library_changes_nothing(monkeypatch):
    monkeypatch.setattr("mpipar.arrays.memory.ctypes.pythonapi", object())
    assert keep_freed_memory() is False


@pytest.mark.parametrize("size, lengths", [(0, []), (1, [1]), (4, [4]), (9, [4, 4, 1])])
def test_pieces_cover_an_array(size, lengths, monkeypatch):
    monkeypatch.setattr("mpipar.arrays.cache.PIECE", 4)
    x = asarray(np.arange(size))
    cut = list(arrays.pieces(x))
    assert [n for piece in cut for n in range(size)[piece]] == list(range(size))
    if arrays.BACKEND == "numpy":
        assert [piece.stop - piece.start for piece in cut] == lengths
    else:
        assert len(cut) == (size > 0)
