"""The update rules as kernels, one launch for a whole run; see arrays/kernels.py for how they are written.

x, the parameters, and the state are read and written in place. What follows from the settings alone is
computed on the host, in float64.
"""

from mpipar.arrays import Elementwise

sgd = Elementwise("sgd", "T g, T lr, T decay", "T x", "x -= lr * (g + decay * x);")
# The step is g_part g + b_part b. At the first update b is g: old 0, new_part 1.
momentum = Elementwise(
    "momentum",
    "T grad, T lr, T decay, T old, T new_part, T g_part, T b_part",
    "T x, T b",
    "T g = grad + decay * x; b = old * b + new_part * g; x -= lr * (g_part * g + b_part * b);",
)
adagrad = Elementwise(
    "adagrad",
    "T grad, T rate, T decay, T eps",
    "T x, T sum",
    "T g = grad + decay * x; sum += g * g; x -= rate * g / (sqrt(sum) + eps);",
)
# x is scaled by `keep` first: AdamW's decay. rate and eps: both times √(1-β₂ᵗ), as in adam.py
adam = Elementwise(
    "adam",
    "T grad, T rate, T decay, T keep, T beta1, T rest1, T beta2, T rest2, T eps",
    "T x, T m, T v",
    """x *= keep; T g = grad + decay * x;
       m = beta1 * m + rest1 * g; v = beta2 * v + rest2 * g * g;
       x -= rate * m / (sqrt(v) + eps);""",
)
