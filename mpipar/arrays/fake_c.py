"""The text of a kernel on `fake`: C, carried out on NumPy arrays.

The C that is understood:

  statement   T a = e;   bool a = e;   a = e;   a += e;   a -= e;   a *= e;
  e           c ? e : e   || && !   == != < <= > >=   + - * / %   T(e)   a function, a name, a whole number
  function    exp log sqrt rsqrt tanh fabs of a float; max min of two of one type

All places are computed at once, in the dtype that T stands for. Refused is what a compiler accepts and
what then goes wrong or slow on a GPU: 0.5, a double, outside T(...), exp(2), a float beside an array of
integers, division of integers, arithmetic on bool, a name that was not declared, an input that is written.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mpipar.arrays.kernel_text import split_statements
from mpipar.errors import BackendError

LEVELS = (("||",), ("&&",), ("==", "!="), ("<", "<=", ">", ">="), ("+", "-"), ("*", "/", "%"))
TOKEN = re.compile(r"\s*(\d+\.\d*(?:e[+-]?\d+)?|\d+|\w+|[-+*]=|[<>=!]=|&&|\|\||[-+*/%<>?:()=!,])")
OPERATIONS: dict[str, Callable] = {
    "||": np.logical_or, "&&": np.logical_and, "==": np.equal, "!=": np.not_equal, "<": np.less,
    "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "+": np.add, "-": np.subtract,
    "*": np.multiply, "/": np.divide, "%": np.fmod,
}  # fmt: skip
OF_ONE: dict[str, Callable] = {
    "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "tanh": np.tanh, "fabs": np.abs,
    "rsqrt": lambda x: 1 / np.sqrt(x),
}  # fmt: skip
OF_TWO: dict[str, Callable] = {"max": np.fmax, "min": np.fmin}  # as C's: of x and NaN, x


class Literal(NamedTuple):
    """A number with a point, good for T(...) alone."""

    value: float


class Body:
    """The names that a kernel's text can see.

    values: name -> array, NumPy scalar or int;   writable: those it may assign to
    """

    def __init__(self, dtype: np.dtype, values: dict[str, Any], writable: set[str]) -> None:
        self.dtype, self.values, self.writable = dtype, values, writable

    def run(self, text: str) -> None:
        """Carry out statements.   errors: BackendError for what is refused"""
        with np.errstate(all="ignore"):
            for statement in split_statements(text):
                try:
                    self._run(statement)
                except BackendError as error:
                    raise BackendError(f"kernel: {error} in {statement!r}") from None

    def value(self, text: str) -> Any:
        """The value of an expression."""
        tokens = _tokens(text)
        with np.errstate(all="ignore"):
            found = self._ternary(tokens)
        if tokens != [""]:
            raise BackendError(f"{tokens[0]!r} is not understood")
        return _plain(found)

    def _run(self, statement: str) -> None:
        found = re.fullmatch(r"(T |bool )?(\w+) ?([-+*]?=)(?!=)(.*)", statement)
        if found is None:
            raise BackendError("no statement that is understood")
        declared, name, operator, formula = found.groups()
        if declared and (name in self.values or name in self.writable):
            raise BackendError(f"{name!r} is declared twice")
        if not declared and name not in self.writable:
            raise BackendError(f"{name!r} is not declared, or is an input")
        value = self.value(formula)
        if operator != "=":
            value = _binary(operator[0], self._name(name), value)
        if isinstance(value, int):
            value = self.dtype.type(value)
        wanted = np.dtype(bool) if declared == "bool " else self.dtype
        if value.dtype != (self.values[name].dtype if name in self.values else wanted):
            raise BackendError(f"{name!r} is {wanted}, its value {value.dtype}")
        self.writable.add(name)
        self.values[name] = value

    def _ternary(self, tokens: list[str]) -> Any:
        condition = self._level(tokens, 0)
        if tokens[0] != "?":
            return condition
        tokens.pop(0)
        yes = _plain(self._ternary(tokens))
        _expect(tokens, ":")
        no = _plain(self._ternary(tokens))
        if _kind(condition) != "b":
            raise BackendError(f"a condition of type {_type_name(condition)}")
        _same("?:", yes, no)
        typed = [x.dtype for x in (yes, no) if not isinstance(x, int)] or [np.dtype(np.int64)]
        return np.where(condition, yes, no).astype(np.result_type(*typed))

    def _level(self, tokens: list[str], level: int) -> Any:
        if level == len(LEVELS):
            return self._unary(tokens)
        left = self._level(tokens, level + 1)
        while tokens[0] in LEVELS[level]:
            operator = tokens.pop(0)
            left = _binary(operator, left, self._level(tokens, level + 1))
        return left

    def _unary(self, tokens: list[str]) -> Any:
        if tokens[0] not in ("-", "!"):
            return self._primary(tokens)
        operator, value = tokens.pop(0), _plain(self._unary(tokens))
        if (_kind(value) == "b") != (operator == "!"):
            raise BackendError(f"{operator} of {_type_name(value)}")
        return np.logical_not(value) if operator == "!" else -value

    def _primary(self, tokens: list[str]) -> Any:
        token = tokens.pop(0)
        if not token:
            raise BackendError("no value")
        if token == "(":
            value = self._ternary(tokens)
            _expect(tokens, ")")
            return value
        if token.isdigit():
            return int(token)
        if "." in token:
            return Literal(float(token))
        if tokens[0] == "(":
            return self._called(token, tokens)
        return self._name(token)

    def _called(self, function: str, tokens: list[str]) -> Any:
        _expect(tokens, "(")
        arguments = [self._ternary(tokens)]
        while tokens[0] == ",":
            tokens.pop(0)
            arguments.append(self._ternary(tokens))
        _expect(tokens, ")")
        if function == "T" and len(arguments) == 1:
            x = arguments[0].value if isinstance(arguments[0], Literal) else arguments[0]
            return x.astype(self.dtype) if isinstance(x, np.ndarray) else self.dtype.type(x)
        arguments = [_plain(x) for x in arguments]
        if len(arguments) != {**dict.fromkeys(OF_ONE, 1), **dict.fromkeys(OF_TWO, 2)}.get(function):
            raise BackendError(f"{function}() of {len(arguments)} is not understood")
        if any(_kind(x) == "b" or isinstance(x, int) for x in arguments) or (
            function in OF_ONE and _kind(arguments[0]) != "f"
        ):
            raise BackendError(f"{function} of {' and '.join(map(_type_name, arguments))}; write T(...)")
        if function in OF_TWO:
            _same(function, *arguments)
        return (OF_ONE | OF_TWO)[function](*arguments)

    def _name(self, name: str) -> Any:
        if name == "INFINITY":
            return self.dtype.type(np.inf)
        if name not in self.values:
            raise BackendError(f"{name!r} has no value")
        return self.values[name]


def _tokens(text: str) -> list[str]:
    tokens, at = [], 0
    text = text.strip()
    while at < len(text):
        found = TOKEN.match(text, at)
        if found is None:
            raise BackendError(f"{text[at:]!r} is not understood")
        tokens.append(found[1])
        at = found.end()
    return [*tokens, ""]


def _expect(tokens: list[str], token: str) -> None:
    if tokens[0] != token:
        raise BackendError(f"{tokens[0]!r} where {token!r} should stand")
    tokens.pop(0)


def _plain(x: Any) -> Any:
    if isinstance(x, Literal):
        raise BackendError(f"{x.value} is a double on a GPU; write T({x.value})")
    return x


def _binary(operator: str, left: Any, right: Any) -> Any:
    left, right = _plain(left), _plain(right)
    logical = operator in ("||", "&&")
    kinds = {_kind(left), _kind(right)}
    if logical != (kinds == {"b"}) or (len(kinds) > 1 and "b" in kinds):
        raise BackendError(f"{operator} of {_type_name(left)} and {_type_name(right)}")
    _same(operator, left, right)
    if (operator == "/" and "f" not in kinds) or (operator == "%" and "f" in kinds):
        raise BackendError(f"{operator} of {_type_name(left)} and {_type_name(right)}")
    return OPERATIONS[operator](left, right)


def _same(what: str, left: Any, right: Any) -> None:
    """A float goes with a float of its dtype or a plain whole number, an integer with an integer."""
    kinds = _kind(left), _kind(right)
    if kinds[0] == kinds[1] and (kinds[0] != "f" or left.dtype == right.dtype):
        return
    if "b" in kinds or not isinstance(left if kinds[0] == "i" else right, int):
        raise BackendError(f"{what} of {_type_name(left)} and {_type_name(right)}")


def _kind(x: Any) -> str:
    if isinstance(x, int):
        return "b" if isinstance(x, bool) else "i"
    return {"u": "i"}.get(x.dtype.kind, x.dtype.kind)


def _type_name(x: Any) -> str:
    return "a whole number" if isinstance(x, int) else str(x.dtype)
