"""Logs: one JSON object a line on standard error; never a secret, never a line for each request."""

from __future__ import annotations

import contextlib
import logging
import sys
from datetime import UTC, datetime

import orjson
import structlog


def configure_logs() -> None:
    """Set up logging for a process of the engine."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,  # never with local variables: they hold secrets
            structlog.processors.JSONRenderer(
                serializer=lambda event, **_: orjson.dumps(event).decode()
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=_Sink,
        cache_logger_on_first_use=True,
    )
    # Libraries speak the standard library's logging; what is below a warning is theirs.
    logging.raiseExceptions = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)


class _Sink:
    """Standard error, where a line that cannot be written is dropped.

    A full disk or a closed pipe must not stop what the line only tells of.
    """

    def __init__(self, *_: object) -> None:
        pass

    def msg(self, line: str) -> None:
        """Write one line."""
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    debug = info = warning = error = critical = msg


class _Line(logging.Formatter):
    """A record of the standard library's logging, told as our own are."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "event": record.getMessage(),
            "logger": record.name,
            "level": record.levelname.lower(),
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = f"{record.exc_info[0].__name__}: {record.exc_info[1]}"
            if record.levelno >= logging.ERROR:  # what a library only warns of, it mends itself
                line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()
