"""Every exception of mpipar. A message carries the values that were wrong and a remedy.

All derive from `MpiparError`, so that the command line can print one sentence for a
user's mistake and keep tracebacks for our own bugs. Each also derives from the built-in
exception a reader would expect (`ValueError`, `TypeError`, ...).
"""


class MpiparError(Exception):
    """A mistake that the user can mend: its text says what was given and what to do."""


class ShapeError(MpiparError, ValueError):
    """Shapes that do not fit together."""


class DTypeError(MpiparError, TypeError):
    """A dtype that an operation or a message cannot carry."""


class LabelError(MpiparError, ValueError):
    """A class label or index out of range."""


class GraphError(MpiparError, RuntimeError):
    """A backward pass that cannot run: no graph, graph already freed, missing seed gradient."""


class BackendError(MpiparError, RuntimeError):
    """An array backend that is unknown, missing, or used in a way a GPU would refuse."""


class LaunchError(MpiparError, RuntimeError):
    """A job started wrongly: no MPI, wrong launcher, wrong number of ranks."""


class MessageError(MpiparError, ValueError):
    """A message that cannot be sent or received as asked: peer, tag, size, dtype."""


class DeadlockError(MpiparError, RuntimeError):
    """Ranks that wait for each other, so that none of them can go on."""


class VerdictError(MpiparError, RuntimeError):
    """A mistake that checking found in this rank.   verdict: a mpipar.comm.verdict.Verdict"""

    def __init__(self, verdict) -> None:
        super().__init__(verdict.text)
        self.verdict = verdict


class LayoutError(MpiparError, ValueError):
    """Sizes that the ranks of a layout cannot share."""


class ScheduleError(MpiparError, ValueError):
    """A pipeline schedule that is incomplete, out of order, deadlocks or holds too much."""


class DataError(MpiparError, ValueError):
    """A data set that is missing or not what it should be."""


class TraceError(MpiparError, ValueError):
    """A trace folder that is missing, foreign or damaged."""


class CheckpointError(MpiparError, ValueError):
    """A checkpoint that is missing, foreign, damaged, of another model, or that could not be written."""


class OptionError(MpiparError, ValueError):
    """A setting or argument outside what is offered."""
