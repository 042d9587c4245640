"""What all optimizers share: groups, the sweep over runs of parameters, saving.

A subclass is the update rule alone: in place, on 1-D arrays, with `out=` and two scratch
arrays instead of new memory. The sweep hands it pieces small enough that all of a piece's
numbers stay in the processor's cache between the rule's operations; on a GPU a kernel of
kernels.py does the same for a whole run.
"""

from collections.abc import Iterable
from typing import Any

from mpipar.arrays import has_kernels, pieces, xp
from mpipar.errors import GraphError, OptionError
from mpipar.nn import Parameter, flatten_by_dtype
from mpipar.optim import saving
from mpipar.optim.groups import by_dtype, check_contiguous, make_groups
from mpipar.optim.runs import runs
from mpipar.optim.slots import Slots
from mpipar.trace import scope_here


class Optimizer:
    """Base: `step()` updates every parameter that has a gradient; the others are skipped.

    parameters: an iterable of Tensors, or of groups: dicts with "params" and settings of their
      own, for example {"params": biases, "weight_decay": 0}
    param_groups: one dict a group, with "params" and each setting; schedules change "lr" there
    Parameters that lie in no flat buffer yet are moved into one (nn.flatten).
    cost: no message, no wait for the device; state as stated by each rule, made at first use
    errors: OptionError for no parameters, one in two groups, or settings out of range;
      ShapeError for data that is not contiguous
    """

    buffers: tuple[str, ...] = ()  # the rule's state, one number a parameter each

    def __init__(self, parameters: Iterable[Any], **settings: Any) -> None:
        self.defaults = settings
        self.param_groups = make_groups(parameters, settings)
        for group in self.param_groups:
            self.check(group)
        every = [p for group in self.param_groups for p in group["params"]]
        self._frozen = [p for p in every if not p.requires_grad]
        self._slots = [Slots(*part) for group in self.param_groups for part in by_dtype(group)]
        self._scratch: dict[Any, tuple[Any, Any]] = {}
        trained = [p for p in every if isinstance(p, Parameter) and p.requires_grad]
        if all(p.place is None for p in trained):  # else the layout is somebody's choice
            flatten_by_dtype(trained)
        for p in every:
            check_contiguous(p)

    def check(self, group: dict[str, Any]) -> None:
        """Refuse settings out of range."""
        for name, value in group.items():
            if isinstance(value, (int, float)) and value < 0:
                raise OptionError(f"{type(self).__name__}: {name}={value} is negative; choose 0 or more")

    def prepare(self, slots: Slots) -> None:
        """Make the buffers before the first update."""
        for name in self.buffers:
            slots.allocate(name)

    def update(self, x: Any, g: Any, t: int, group: dict[str, Any], scratch: Any, **state: Any) -> None:
        """The rule: change x and the state in place for gradient g at the t-th update, t ≥ 1.

        g must keep its numbers; scratch: two arrays like x to write into.
        """
        raise NotImplementedError

    def fused(self, x: Any, g: Any, t: int, group: dict[str, Any], **state: Any) -> None:
        """update on a device, of a whole run; a rule of kernels.py where there is one."""
        self.update(x, g, t, group, self._scratch_like(x, len(x)), **state)

    def step(self) -> None:
        """One update of every parameter that has a gradient."""
        if any(p.grad is not None for p in self._frozen):
            raise GraphError(
                f"{type(self).__name__}: a parameter that was frozen when the optimizer was made has a "
                "gradient now; make the optimizer anew after requires_grad_(True)"
            )
        with scope_here("optimizer"):
            for slots in self._slots:
                for run in runs(slots.parameters, slots.steps):
                    self._sweep(slots, run)

    def _sweep(self, slots: Slots, run: Any) -> None:
        self.prepare(slots)
        for i in range(run.first, run.last):
            slots.steps[i] += 1
        whole = slice(slots.offsets[run.first], slots.offsets[run.last])
        state = {name: v[whole] for name, v in slots.values.items()}
        if has_kernels(run.x):
            self.fused(run.x, run.g, slots.steps[run.first], slots.group, **state)
            return
        for piece in pieces(run.x):
            self.update(
                run.x[piece],
                run.g[piece],
                slots.steps[run.first],
                slots.group,
                self._scratch_like(run.x, piece.stop - piece.start),
                **{name: v[piece] for name, v in state.items()},
            )

    def _scratch_like(self, x: Any, size: int) -> tuple[Any, Any]:
        pair = self._scratch.get(x.dtype)
        if pair is None or len(pair[0]) < size:
            pair = self._scratch[x.dtype] = (xp.empty(size, x.dtype), xp.empty(size, x.dtype))
        return pair[0][:size], pair[1][:size]

    def state_bytes(self) -> int:
        """Bytes of the state, which is made at the first update."""
        return sum(v.nbytes for slots in self._slots for v in slots.values.values())

    def zero_grad(self) -> None:
        """Forget the gradients; the next backward writes them anew.   cost: no memory is touched."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    def state_dict(self) -> dict[str, Any]:
        """See saving.state_dict."""
        return saving.state_dict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See saving.load_state_dict."""
        saving.load_state_dict(self, state)


def decayed(x: Any, g: Any, decay: float, out: Any) -> Any:
    """g + decay x, the gradient of L + decay/2 ‖x‖²; g itself for no decay."""
    if not decay:
        return g
    xp.multiply(x, decay, out=out)
    out += g
    return out
