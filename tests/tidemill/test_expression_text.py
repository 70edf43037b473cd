"""An expression's text is read back as the same expression, and nothing else is run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tidemill.errors import DeclarationError
from tidemill.expression_text import expression_text, parse_expression
from tidemill.expressions import Binary, Choice, Column, Constant, Expression, Unary

LEAVES = st.one_of(
    st.sampled_from(["a", "b_2", "and", "time", "UPPER", "two words"]).map(Column),
    st.one_of(
        st.booleans(), st.integers(-(10**9), 10**9), st.text(max_size=5),
        st.floats(allow_nan=False, allow_infinity=False),
    ).map(Constant),
)  # fmt: skip
SIGNS = ("+", "-", "*", "/", ">", ">=", "<", "<=", "==", "!=", "**", "%", "minimum", "&", "|")
NAMES = ("not", "abs", "floor", "log", "hour", "present", "category", "fingerprint")
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(Binary, st.sampled_from(SIGNS), inner, inner),
        st.builds(Unary, st.sampled_from(NAMES), inner),
        st.builds(Choice, inner, inner, inner),
    ),
    max_leaves=8,
)


@given(TREES)
def test_the_text_says_the_whole_expression(tree: Expression) -> None:
    """What was written is read back equal, and written again alike."""
    text = expression_text(tree)
    found = parse_expression(text)
    assert repr(tree) == repr(found)
    assert text == expression_text(found)


def test_the_text_says_what_the_operators_say() -> None:
    """A project file and a command line name the same thing."""
    delay, carrier = tm.column("delay"), tm.column("carrier")
    assert (delay > 15) & ~carrier.equals("AA") == parse_expression(
        "delay > 15 and not carrier == 'AA'"
    )
    assert tm.if_else(delay < -1.5, tm.minimum(delay, 2), 0) == parse_expression(
        "if_else(delay < -1.5, minimum(delay, 2), 0)"
    )


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')", "delay.real", "1 < delay < 2", "lambda: 1", "[delay]",
        "delay & 2", "unknown(delay)", "minimum(delay)", "if_else(delay, 1)", "", "a; b", "a = 1",
        "category(x=delay)", "b'x'", "'{}'.format(delay)", "not " * 200 + "a", "(" * 500, "None",
    ],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    """The error names the text and what is allowed; nothing was called."""
    with pytest.raises(DeclarationError, match="allowed: columns, numbers, 'strings'"):
        parse_expression(text)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_has_no_text_is_refused(value: float) -> None:
    """A constant that no text gives is not written as something else."""
    with pytest.raises(DeclarationError, match="allowed: one made of"):
        expression_text(Constant(value))
