"""The log on stderr: lines for a person, JSON for a machine, and no secrets in either."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

MASK = "***"
_NAMES = re.compile(r"(?i)(password|passwd|secret|token|authorization|api_?key|signing_key)$")
_PATTERNS = (
    # What stands before the last @ of an address, a key but for its id, what follows Bearer or
    # Basic, a JSON Web Token.
    (re.compile(r"(://)[^\s'\"]+@"), rf"\1{MASK}@"),
    (re.compile(r"\b(tm_[0-9A-Za-z]+_)[\w-]+"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+"), rf"\1 {MASK}"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), MASK),
)


def masked(text: str) -> str:
    """The text without passwords of addresses, API keys and tokens."""
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def mask_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """A structlog processor: nothing secret in any value, and nothing at all in one so named."""
    return {name: MASK if _NAMES.search(name) else _clean(value) for name, value in event.items()}


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, bytes):
        return masked(value.decode(errors="replace"))
    if isinstance(value, Mapping):
        return {key: MASK if _NAMES.search(str(key)) else _clean(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(own) for own in value]
    return value if isinstance(value, int | float | None) else masked(str(value))


def log_to_stderr() -> None:
    """Log warnings and the structured log to stderr; also what libraries log.

    A line that is about one prediction has its `prediction_id`, one written for a traced request
    its `trace_id`.
    """
    json_lines = not sys.stderr.isatty()
    renderer: Processor = (
        structlog.processors.JSONRenderer() if json_lines else structlog.dev.ConsoleRenderer()
    )
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*common, mask_secrets, renderer],
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),  # as it is then
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *common],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                mask_secrets,
                renderer,
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
