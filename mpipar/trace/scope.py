"""Stretches of the program as events: those that are named, and those of a backward pass."""

from typing import Any


class Scope:
    """What `with recorder.scope(name, step, micro)` opens: events inside carry its path."""

    __slots__ = ("_micro", "_name", "_outer", "_recorder", "_seq", "_start", "_step")

    def __init__(self, recorder: Any, name: str, step: int | None, micro: int | None) -> None:
        self._recorder, self._name, self._step, self._micro = recorder, name, step, micro

    def __enter__(self) -> None:
        recorder = self._recorder
        self._outer = recorder.scope_path, recorder.step, recorder.micro
        recorder.scope_path = recorder.below(self._name)
        if self._step is not None:
            recorder.step = self._step
        if self._micro is not None:
            recorder.micro = self._micro
        self._seq, self._start = recorder.begin(), recorder.clock()

    def __exit__(self, *_: object) -> None:
        recorder = self._recorder
        recorder.scope_ended(self._seq, self._start)
        recorder.scope_path, recorder.step, recorder.micro = self._outer


class Backward:
    """A backward pass: `with Backward(recorder) as enter`, and enter(module) before each operation.

    Operations of one module that follow each other are one event, "backward/layers.1.self_attn".
    """

    __slots__ = ("_module", "_path", "_recorder", "_scope", "_seq", "_start")

    def __init__(self, recorder: Any) -> None:
        self._recorder, self._module = recorder, ""
        self._scope = Scope(recorder, "backward", None, None)

    def __enter__(self) -> Any:
        self._scope.__enter__()
        self._path = self._recorder.scope_path
        return self._enter

    def __exit__(self, *_: object) -> None:
        self._enter("")
        self._scope.__exit__()

    def _enter(self, module: str) -> None:
        if module == self._module:
            return
        recorder = self._recorder
        now = recorder.clock()
        if self._module:
            recorder.scope_ended(self._seq, self._start, now)
        self._module = module
        if module:
            recorder.scope_path = f"{self._path}/{module}"
            self._seq, self._start = recorder.begin(), now
        else:
            recorder.scope_path = self._path
