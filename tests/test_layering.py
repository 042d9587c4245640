"""The house's one rule: a package imports only from those before it."""

import ast
from pathlib import Path

import mpipar

ORDER = (
    "errors settings failure arrays trace comm tensor nn optim data schedule parallel cost view lab cli"
).split()
PACKAGE = Path(mpipar.__file__).parent


def imports_of(file: Path):
    """(line, package of mpipar) for every import of ours in the file."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            raise AssertionError(f"{file}:{node.lineno}: import by full name, so that this test can read it")
        if isinstance(node, ast.ImportFrom) and node.module == "mpipar":
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mpipar."):
            yield node.lineno, node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            yield from ((node.lineno, name[1]) for name in names if name[0] == "mpipar" and len(name) > 1)


def package_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_no_upward_import():
    upward = [
        f"{file.relative_to(PACKAGE)}:{line} imports {name}"
        for file in PACKAGE.rglob("*.py")
        if file != PACKAGE / "__init__.py"
        for line, name in imports_of(file)
        if ORDER.index(name) > ORDER.index(package_of(file))
    ]
    assert upward == []


def test_every_package_has_a_place():
    assert {package_of(file) for file in PACKAGE.rglob("*.py")} - {"__init__"} <= set(ORDER)


def test_the_environment_is_read_in_one_place():
    readers = [
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        if "os.environ" in file.read_text(encoding="utf-8") or "getenv" in file.read_text(encoding="utf-8")
    ]
    assert readers == ["settings.py"]
