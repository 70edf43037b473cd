"""Expressions as text: written on a command line, kept in a manifest, read back without `eval`.

`parse_expression("delay > 15 and carrier == 'AA'")` builds the same tree as the operators do in a
project file. The text has Python's syntax, of which only what is named here is allowed: not `&`,
which binds tighter than `<`, but `and`.
"""

from __future__ import annotations

import ast
import keyword
import math

from tidemill.errors import DeclarationError
from tidemill.expressions import Binary, Choice, Column, Constant, Expression, Unary

MOST_NESTED = 100  # deeper trees are a mistake, and would overflow the stack
_INFIX: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Mod: "%", ast.Pow: "**",
    ast.And: "&", ast.Or: "|",
    ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<", ast.LtE: "<=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
_BOTH = ("minimum", "maximum")
_FUNCTIONS = {
    "absolute": "abs",
    **{
        name: name
        for name in (
            "floor", "sqrt", "log", "exp", "hour", "minute_of_day", "day_of_week", "present",
            "category", "fingerprint",
        )
    },
}  # fmt: skip
_WRITTEN = {operation: name for name, operation in _FUNCTIONS.items()}
ALLOWED = (
    "columns, numbers, 'strings', + - * / % **, one comparison at a time, and, or, not, "
    "column(...), if_else(...), " + ", ".join(f"{name}(...)" for name in (*_BOTH, *_FUNCTIONS))
)


def parse_expression(text: str, where: str = "expression") -> Expression:
    """The expression that the text says; raises DeclarationError with what is allowed.

    >>> parse_expression("delay > 15") == Binary(">", Column("delay"), Constant(15))
    True
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise DeclarationError(where, text, ALLOWED) from None
    return _Reader(where, text).read(tree)


def expression_text(expression: Expression) -> str:
    """The text that `parse_expression` reads as this expression."""
    match expression:
        case Column(name):
            plain = name.isidentifier() and not keyword.iskeyword(name)
            return name if plain else f"column({name!r})"
        case Constant(bool() | str() as value):
            return repr(value)
        case Constant(int() | float() as value) if math.isfinite(value):
            # In brackets, for -5 ** 2 is -(5 ** 2).
            return f"({value!r})" if value < 0 else repr(value)
        case Unary("not", operand):
            return f"(not {expression_text(operand)})"
        case Unary(operation, operand):
            return f"{_WRITTEN[operation]}({expression_text(operand)})"
        case Binary(operation, left, right) if operation in _BOTH:
            return f"{operation}({expression_text(left)}, {expression_text(right)})"
        case Binary(operation, left, right):
            sign = {"&": "and", "|": "or"}.get(operation, operation)
            return f"({expression_text(left)} {sign} {expression_text(right)})"
        case Choice(condition, yes, no):
            return "if_else({}, {}, {})".format(*map(expression_text, (condition, yes, no)))
    raise DeclarationError("expression", expression, "one made of Tidemill's columns and operators")


class _Reader:
    """Turns a syntax tree into an expression; knows the whole text for its errors."""

    def __init__(self, where: str, text: str) -> None:
        self._where, self._text, self._depth = where, text, 0

    def read(self, node: ast.AST) -> Expression:
        """One node and what is under it."""
        self._depth += 1
        if self._depth > MOST_NESTED:
            raise self._refused()
        found = self._node(node)
        self._depth -= 1
        return found

    def _node(self, node: ast.AST) -> Expression:
        match node:
            case ast.Name(id=name):
                return Column(name)
            case ast.Constant(value=bool() | int() | float() | str() as value):
                return Constant(value)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return Constant(-value)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return Binary("-", Constant(0), self.read(operand))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return Unary("not", self.read(operand))
            case ast.BinOp(op=operation, left=left, right=right):
                return self._infix(operation, left, right)
            case ast.Compare(ops=[operation], left=left, comparators=[right]):
                return self._infix(operation, left, right)
            case ast.BoolOp(op=operation, values=[first, *others]):
                found = self.read(first)
                for other in others:
                    found = Binary(_INFIX[type(operation)], found, self.read(other))
                return found
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._call(name, arguments)
        raise self._refused()

    def _infix(self, operation: ast.AST, left: ast.AST, right: ast.AST) -> Expression:
        sign = _INFIX.get(type(operation))
        if sign is None:
            raise self._refused()
        return Binary(sign, self.read(left), self.read(right))

    def _call(self, name: str, arguments: list[ast.expr]) -> Expression:
        match arguments:
            case [ast.Constant(value=str() as column)] if name == "column":
                return Column(column)
            case [operand] if name in _FUNCTIONS:
                return Unary(_FUNCTIONS[name], self.read(operand))
            case [left, right] if name in _BOTH:
                return Binary(name, self.read(left), self.read(right))
            case [condition, yes, no] if name == "if_else":
                return Choice(self.read(condition), self.read(yes), self.read(no))
        raise self._refused()

    def _refused(self) -> DeclarationError:
        return DeclarationError(self._where, self._text, ALLOWED)
