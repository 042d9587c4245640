"""The house's rules: a package imports only from those before it, and no files import in a circle."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import mpipar

ORDER = (
    "errors settings failure arrays trace comm tensor nn optim data schedule parallel cost view bench lab cli"
).split()
PACKAGE = Path(mpipar.__file__).parent
FILES = [file for file in sorted(PACKAGE.rglob("*.py")) if file != PACKAGE / "__init__.py"]


def imports_in(tree: ast.AST, when_loaded: bool = False) -> Iterator[tuple[int, str]]:
    """(line, "mpipar.comm.ring") for every import of ours; of a name as if it were a module.

    when_loaded: only those that run when the file is imported, so none inside functions
    """
    for node in ast.iter_child_nodes(tree):
        if when_loaded and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        names = []
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: import by full name, so that this test can read it"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Call) and _called(node.func) in ("import_module", "__import__"):
            names = [_text(argument) for argument in node.args[:1]]
        yield from ((node.lineno, name) for name in names if name.split(".")[0] == "mpipar" and "." in name)
        yield from imports_in(node, when_loaded)


def _called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _text(argument: ast.expr) -> str:
    """A string, or the beginning of an f-string as far as it is fixed."""
    if isinstance(argument, ast.JoinedStr) and argument.values:
        argument = argument.values[0]
    return str(argument.value) if isinstance(argument, ast.Constant) else ""


def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def package_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def file_of(name: str) -> Path:
    """The file that holds the module, or the module's attribute, of this name."""
    path = PACKAGE.joinpath(*name.split(".")[1:])
    for candidate in (path.with_suffix(".py"), path / "__init__.py", path.parent.with_suffix(".py")):
        if candidate.exists():
            return candidate
    return path.parent / "__init__.py"


def test_no_upward_import():
    upward = [
        f"{file.relative_to(PACKAGE)}:{line} imports {name}"
        for file in FILES
        for line, name in imports_in(tree_of(file))
        if ORDER.index(name.split(".")[1]) > ORDER.index(package_of(file))
    ]
    assert upward == []


def test_files_have_an_order_in_which_each_imports_only_earlier_ones():
    """In a package as in the house: whoever reads a file needs only files that can be read before."""
    uses = {file: {file_of(name) for _, name in imports_in(tree_of(file), True)} for file in FILES}
    try:
        order = list(TopologicalSorter(uses).static_order())
    except CycleError as error:
        pytest.fail("import in a circle: " + " → ".join(str(f.relative_to(PACKAGE)) for f in error.args[1]))
    assert set(order) == set(FILES)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from mpipar.comm import world, mpi", ["mpipar.comm.world", "mpipar.comm.mpi"]),
        ("import os, mpipar.nn.flat", ["mpipar.nn.flat"]),
        ("importlib.import_module('mpipar.view.step')", ["mpipar.view.step"]),
        ("import_module(f'mpipar.view.{name}')", ["mpipar.view."]),
        ("def f():\n    from mpipar.view import step", []),
        ("import mpipar", []),
    ],
)
def test_how_imports_are_found(text, found):
    assert [name for _, name in imports_in(ast.parse(text), when_loaded=True)] == found


def test_every_package_has_a_place():
    assert {package_of(file) for file in FILES} <= set(ORDER)


def test_the_environment_is_read_in_one_place():
    readers = [
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        if "os.environ" in file.read_text(encoding="utf-8") or "getenv" in file.read_text(encoding="utf-8")
    ]
    assert readers == ["settings.py"]
