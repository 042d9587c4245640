"""What the ranks of one process would share, and must not: the script's modules, the global
random generators, standard output and standard input.

`ranks.turn(rank)` is called whenever another rank's turn has come. Modules of the script's own
folder change places in sys.modules then; output and random numbers ask whose turn it is when
they are used. Library modules are shared.
"""

import io
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mpipar.errors import OptionError


@contextmanager
def _replaced(where: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(where, name)
    setattr(where, name, value)
    try:
        yield
    finally:
        setattr(where, name, before)


class Ranks:
    """Whose turn it is, and what each rank has for itself."""

    def __init__(self, size: int, folder: Path) -> None:
        self.now = 0
        self.modules = Modules(size, folder)

    def turn(self, rank: int) -> None:
        self.modules.change(self.now, rank)
        self.now = rank

    @contextmanager
    def apart(self, argv: list[str]) -> Iterator[None]:
        """While the script runs."""
        out, errors = Output(sys.stdout, self, kept=True), Output(sys.stderr, self, kept=False)
        with ExitStack() as stack:
            stack.callback(errors.finish)
            stack.callback(out.finish)
            for name, value in (("stdout", out), ("stderr", errors), ("stdin", NoInput()), ("argv", argv)):
                stack.enter_context(_replaced(sys, name, value))
            stack.enter_context(self.modules.installed())
            stack.enter_context(_random_numbers(lambda: self.now))
            yield


class Modules:
    """A copy of each module of the script's folder for every rank, also of __main__."""

    def __init__(self, size: int, folder: Path) -> None:
        self._folder = str(folder)
        self._own: list[dict[str, ModuleType]] = [{} for _ in range(size)]
        self._names = {"__main__"}

    def main(self, rank: int, script: Path) -> dict[str, Any]:
        """The namespace for a rank's script."""
        module = sys.modules["__main__"] = self._own[rank]["__main__"] = ModuleType("__main__")
        module.__file__ = str(script)
        return vars(module)

    def change(self, old: int, new: int) -> None:
        """Put the modules of one rank away and those of another in their place."""
        if old == new:
            return
        loaded, own = sys.modules, self._own[old]
        for name in self._names:
            if name in loaded:
                own[name] = loaded.pop(name)
        loaded.update(self._own[new])

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Called by `import`: takes note of what lies in the script's folder."""
        if path is not None and name.rpartition(".")[0] not in self._names:
            return None
        spec = PathFinder.find_spec(name, path, target)
        where = [] if spec is None else [spec.origin, *(spec.submodule_search_locations or ())]
        top = [str(Path(place).parent if place == spec.origin else place) for place in where if place]
        if path is None and not any(t in (self._folder, str(Path(self._folder, name))) for t in top):
            return None
        self._names.add(name)
        return spec

    @contextmanager
    def installed(self) -> Iterator[None]:
        before = {"__main__": sys.modules["__main__"]}
        with _replaced(sys, "path", [self._folder, *sys.path]):
            # before the finder of files; after those of built-in modules, which no script can replace
            place = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else len(sys.meta_path)
            sys.meta_path.insert(place, self)
            try:
                yield
            finally:
                sys.meta_path.remove(self)
                for name in self._names:
                    sys.modules.pop(name, None)
                sys.modules.update(before)


class Output(io.TextIOBase):
    """Standard output of all ranks, line by line, each with `[rank] ` before it.

    Rank 0's lines are shown at once. The others' are kept and shown rank by rank at the end; or,
    with kept=False, at once too.
    """

    def __init__(self, screen: Any, ranks: Ranks, kept: bool) -> None:
        self._screen, self._ranks, self._kept = screen, ranks, kept
        self._begun: dict[int, str] = {}  # lines without their end
        self._lines: dict[int, list[str]] = {}

    encoding = "utf-8"

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        rank = self._ranks.now
        *lines, begun = (self._begun.pop(rank, "") + text).split("\n")
        if begun:
            self._begun[rank] = begun
        if lines:
            self._put(rank, lines)
        return len(text)

    def finish(self) -> None:
        """Show what was kept."""
        for rank, line in sorted(self._begun.items()):
            self._put(rank, [line])
        for _, lines in sorted(self._lines.items()):
            self._screen.writelines(lines)
        self._screen.flush()

    def _put(self, rank: int, lines: list[str]) -> None:
        marked = [f"[{rank}] {line}\n" for line in lines]
        if self._kept and rank:
            self._lines.setdefault(rank, []).extend(marked)
        else:
            self._screen.write("".join(marked))
            self._screen.flush()


class NoInput(io.TextIOBase):
    """Standard input, which a thousand ranks cannot share."""

    def read(self, *_: Any) -> str:
        raise OptionError(
            "virtual ranks have no standard input; read a file, or pass the script arguments that it parses"
        )

    readline = __next__ = read


# functions of numpy.random that are no methods of its global generator, and what they call
_NUMPY_FUNCTIONS = {"seed": "seed", "ranf": "random_sample", "sample": "random_sample"}


@contextmanager
def _random_numbers(rank: Callable[[], int]) -> Iterator[None]:
    """The global functions of `random` and `numpy.random` draw from the rank's own generator.

    It is seeded with the rank until the script seeds it, so that two runs are alike.
    """
    with ExitStack() as stack:
        for module, shared, kind in (
            (random, random._inst, random.Random),
            (np.random, np.random.mtrand._rand, np.random.RandomState),
        ):
            own: dict[int, Any] = {}
            methods = {n: n for n, f in vars(module).items() if getattr(f, "__self__", None) is shared}
            for name, method in methods.items() | (_NUMPY_FUNCTIONS.items() if module is np.random else ()):
                function = _drawing(own, kind, method, rank)
                stack.enter_context(_replaced(module, name, function))
        yield


def _drawing(own: dict[int, Any], kind: Callable[[int], Any], method: str, rank: Callable[[], int]) -> Any:
    def draw(*args: Any, **options: Any) -> Any:
        now = rank()
        if now not in own:
            own[now] = kind(now)
        return getattr(own[now], method)(*args, **options)

    draw.__name__ = method
    return draw
