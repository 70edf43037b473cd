"""Errors carry fields and share one base."""

from __future__ import annotations

import pickle

from tidemill import errors
from tidemill.errors import (
    DeclarationError,
    GateRefused,
    InputError,
    LogLost,
    StateLost,
    TidemillError,
)


def test_every_error_is_a_tidemill_error_and_in_the_tree() -> None:
    """Each error class derives from the base and is drawn in the module's docstring."""
    classes = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, Exception) and value is not TidemillError
    ]
    assert {TidemillError, InputError} == {value.__base__ for value in classes}
    assert [] == [value.__name__ for value in classes if value.__name__ not in str(errors.__doc__)]


def test_errors_survive_a_process_boundary() -> None:
    """An error comes back from a pickle with its fields."""
    for error in (
        DeclarationError("name", 1, "allowed", "file.py"),
        InputError("cause", "field", "found", "allowed"),
        LogLost("flights.events", 1, 10),
        StateLost("{flights:0}:fence:events", 0, 3),
    ):
        assert vars(error) == vars(pickle.loads(pickle.dumps(error)))  # noqa: S301


def test_an_input_error_says_field_found_and_allowed() -> None:
    """The text names all three."""
    error = InputError("wrong_type", "amount", "str", "float")
    assert "amount: found str; allowed: float" == str(error)


def test_a_lost_log_says_which_and_what_to_do() -> None:
    """The text names topic and partition, what was processed, what is found, the way out."""
    text = str(LogLost("flights.events", 1, 10))
    for part in ("flights.events", "partition 1", "found no record", "offset 10", "TIDEMILL_HOME"):
        assert part in text


def test_a_lost_state_says_what_is_left_and_what_to_do() -> None:
    """The text names the fence, its epoch or that there is none, and the way out."""
    text = str(StateLost("fence", 0, 3))
    for part in ("fence: found no epoch", "3 or later", "features drop", "start the worker again"):
        assert part in text
    assert "found epoch 2" in str(StateLost("fence", 2, 3))


def test_a_refusal_joins_its_reasons() -> None:
    """Every reason is in the text."""
    assert "too few rows; worse log-loss" == str(GateRefused(("too few rows", "worse log-loss")))
