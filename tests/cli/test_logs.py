"""What is logged is one line for a machine, and has no secret in it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator

import pytest
import structlog

from cli.logs import log_to_stderr, mask_secrets, masked


@pytest.fixture
def lines(capsys) -> Iterator[Callable[[], list[dict]]]:
    """`lines()`: what was logged since, read as JSON; the configuration of before comes back."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def configure() -> None:
    """As a command does, with the stream that stderr is by then."""
    logging.getLogger().handlers.clear()
    log_to_stderr()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://user:pa/ss@host:6379/0", "redis://***@host:6379/0"),
        ("at redis://user:p@ss@host:6379/0: gone", "at redis://***@host:6379/0: gone"),
        ("redis://host:6379/0 and user@host", "redis://host:6379/0 and user@host"),
        ("key tm_9fK2_s3cr3t-of_256bits refused", "key tm_9fK2_*** refused"),
        ("Authorization: Bearer abc.def-ghi=", "Authorization: Bearer ***"),
        ("token eyJhbGciOi.eyJzdWIi.c2ln here", "token *** here"),
        ("nothing to hide: r0003/57", "nothing to hide: r0003/57"),
    ],
)
def test_secrets_are_masked_in_texts(text, expected):
    """Passwords of addresses, API keys but for their id, bearer tokens."""
    assert expected == masked(text)


def test_values_are_masked_wherever_they_lie():
    """In lists and mappings too, and whole where the name says that it is secret."""
    event = {
        "event": "started", "kafka_password": "hunter2", "count": 3, "none": None,
        "urls": ["redis://a:b@c"], "more": {"api_key": "tm_1_x", "share": 0.5},
    }  # fmt: skip
    assert {
        "event": "started", "kafka_password": "***", "count": 3, "none": None,
        "urls": ["redis://***@c"], "more": {"api_key": "***", "share": 0.5},
    } == mask_secrets(None, "info", event)  # fmt: skip


def test_a_line_is_json_with_its_context(lines):
    """Time and level, what the call gave, and what was bound around it."""
    configure()
    with structlog.contextvars.bound_contextvars(trace_id="4bf9"):
        structlog.get_logger().warning("arm_failed", prediction_id="ab12", release="r0002")
    (line,) = lines()
    assert ("arm_failed", "warning", "ab12", "r0002", "4bf9") == (
        line["event"], line["level"], line["prediction_id"], line["release"], line["trace_id"],
    )  # fmt: skip
    assert line["timestamp"].endswith("Z")


def test_what_libraries_log_is_the_same_kind_of_line(lines):
    """A warning of a client, with its address masked."""
    configure()
    logging.getLogger("redis").warning("cannot reach %s", "redis://me:secret@there:1")
    (line,) = lines()
    assert ("cannot reach redis://***@there:1", "redis", "warning") == (
        line["event"], line["logger"], line["level"],
    )  # fmt: skip


def test_a_traceback_is_masked_too(lines):
    """The text of an error may hold an address."""
    configure()
    try:
        raise ValueError("redis://me:secret@there:1")
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = lines()
    assert "redis://***@there:1" in line["exception"]
    assert "secret" not in json.dumps(line)
