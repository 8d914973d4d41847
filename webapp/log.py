"""Structured log lines on stderr: JSON where a machine reads, never a token, an address or a payload.

What may be logged is named at the call (ids, counts, states); the last processor is the net under that: it masks
anything that looks like an e-mail address or a bearer token, in values and in exception text.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

# Begins where a run of its characters begins: tried at every one of them, a long text would take minutes. Quotes and
# slashes may stand within the name of an address; those in front of it are taken for what surrounds it.
ADDRESS = re.compile(r"(?<![^\s\"<>@:(),])(['/]*+)[^\s\"<>@:(),]+@[^\s\"'<>@:/(),]+\.[^\s\"'<>@:/(),]+")
SECRET = re.compile(
    r"(?i)(bearer\s+|basic\s+|(?:access_token|refresh_token|code|code_verifier|client_secret|password|token)[\"']?\s*[=:]\s*[\"']?)"
    r"[A-Za-z0-9._~+/=-]{8,}"
)
ROW = re.compile(r"(?m)^(DETAIL:).*")  # PostgreSQL shows the row that it refuses
URL_PASSWORD = re.compile(r"(://[^\s/:@]*:)[^\s/@]+@")


def mask(text: str) -> str:
    """`text` without e-mail addresses, secrets and rows of the database."""
    text = URL_PASSWORD.sub(r"\1[secret]@", ROW.sub(r"\1 [row]", text))
    return SECRET.sub(r"\1[secret]", ADDRESS.sub(r"\1[address]", text))


def _mask_values(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> dict[str, Any]:
    return {key: mask(value) if isinstance(value, str) else value for key, value in entry.items()}


class _MaskingFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return mask(super().format(record))


def set_up(level: str | None = None) -> None:
    """Route structlog and the standard library's loggers to stderr. `LOG_LEVEL` decides the level (INFO)."""
    wanted = logging.getLevelNamesMapping().get((level or os.environ.get("LOG_LEVEL", "INFO")).upper(), logging.INFO)
    renderer: Any = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _mask_values,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(wanted),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_MaskingFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=max(wanted, logging.WARNING), handlers=[handler], force=True)


def get(name: str) -> structlog.stdlib.BoundLogger:
    """A logger; `name` becomes the entry's `logger`."""
    # bind(), for get_logger() has a parameter `logger` of its own.
    bound: structlog.stdlib.BoundLogger = structlog.get_logger().bind(logger=name)
    return bound
