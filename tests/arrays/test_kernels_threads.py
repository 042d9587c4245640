"""The CUDA C that is made for kernels over rows, run by the threads of a processor: what each block of a
GPU would do, with its barriers. Needs g++; a GPU's compiler is asked in test_kernels_compile.py."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest

from mpipar.arrays.kernel_text import source
from mpipar.arrays.kernels import Rows

AS_ON_A_GPU = """
#include <barrier>
#include <chrono>
#include <cmath>
#include <cstring>
#include <thread>
#include <vector>
#define __device__ static
#define __global__
#define __shared__ static
static thread_local struct { unsigned x; } threadIdx, blockIdx;
static struct { unsigned x; } blockDim;
static std::barrier<>* block;
static std::vector<std::barrier<>*> warps;
static double exchanged[1024];
static void __syncthreads() {
  block->arrive_and_wait();  // the first warp goes on late, so a barrier left out shows every time
  if (threadIdx.x < 32) std::this_thread::sleep_for(std::chrono::milliseconds(2));
}
template <class V> static V __shfl_xor_sync(unsigned, V mine, int s) {
  std::barrier<>& warp = *warps[threadIdx.x / 32];
  exchanged[threadIdx.x] = mine;
  warp.arrive_and_wait();
  const V other = (V)exchanged[threadIdx.x ^ s];
  warp.arrive_and_wait();
  return other;
}
static float __int_as_float(int i) { float f; memcpy(&f, &i, 4); return f; }
static double max(double a, double b) { return std::fmax(a, b); }
"""
LAUNCH = """
extern "C" void launch(long long rows, int threads, const T* x, const T* w, const I* t, T* y, T* top, T* norm,
                       long long n) {
  std::barrier<> all(threads);
  std::vector<std::thread> made;
  block = &all;
  blockDim.x = threads;
  for (int i = 0; i < threads / 32; i++) warps.push_back(new std::barrier<>(32));
  for (int i = 0; i < threads; i++) made.emplace_back([=] {
    threadIdx.x = i;
    for (long long row = 0; row < rows; row++) {
      blockIdx.x = row;
      mpipar_centred(x, w, t, 0.25, y, top, norm, n);
      __syncthreads();
    }
  });
  for (std::thread& thread : made) thread.join();
  warps.clear();
}
"""
KERNEL = Rows(
    "centred",
    "T x, column T w, row I t, scalar T eps",
    "T y, row T top, row T norm",
    given="T c = x * w;",
    row="""top = row_max(c); T picked = row_sum(j == t ? c : T(0));
           norm = sqrt(row_sum((c - top) * (c - top)) / T(n) + eps) + picked;""",
    each="y = (c - top) / norm;",
)


@pytest.fixture(scope="module")
def launch(tmp_path_factory):
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    folder = tmp_path_factory.mktemp("threads")
    types = {"T": np.dtype("float64"), "I": np.dtype("int64")}
    text = source(KERNEL, types, (False, False, False, True, False, False, False))
    (folder / "kernel.cpp").write_text(AS_ON_A_GPU + text + LAUNCH)
    command = ["g++", "-std=c++20", "-shared", "-fPIC", "-pthread", "-w", "kernel.cpp", "-o", "kernel.so"]
    made = subprocess.run(command, cwd=folder, timeout=60, capture_output=True, text=True, check=False)
    if "barrier: No such file" in made.stderr or "unrecognized command" in made.stderr:
        pytest.skip("this g++ is from before C++20's std::barrier")
    assert made.returncode == 0, made.stderr
    return ctypes.CDLL(str(folder / "kernel.so")).launch


@pytest.mark.parametrize(("threads", "n"), [(32, 1), (32, 33), (32, 100), (96, 40), (96, 300)])
def test_rows_by_threads(launch, threads, n):
    draw = np.random.default_rng(0)
    x, w, t = draw.standard_normal((3, n)), draw.random(n), draw.integers(0, n, 3)
    y, top, norm = np.empty((3, n)), np.empty(3), np.empty(3)
    arrays = (ctypes.c_void_p(a.ctypes.data) for a in (x, w, t, y, top, norm))
    launch(ctypes.c_longlong(3), threads, *arrays, ctypes.c_longlong(n))
    c = x * w
    most = c.max(1, keepdims=True)
    expected = np.sqrt(((c - most) ** 2).mean(1) + 0.25) + c[np.arange(3), t]
    np.testing.assert_array_equal(top, most[:, 0])
    np.testing.assert_allclose(norm, expected, 1e-13)
    np.testing.assert_allclose(y, (c - most) / expected[:, None], 1e-13)
