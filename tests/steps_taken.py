"""What a function costs, without a clock."""

import sys
from collections.abc import Callable


def steps_taken(function: Callable[[], object]) -> int:
    """How many lines of Python a call of the function runs. What is inside C, as a sort, counts as one."""
    lines = 0

    def trace(frame, what, argument):
        nonlocal lines
        lines += what == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return lines
