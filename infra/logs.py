"""Logging: structured events on stderr, readable on a terminal, one JSON object per line otherwise.

Records of libraries (Faust, aiokafka, clickhouse-connect) that use the standard `logging` take the same way.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor

_QUIET_LIBRARIES = ("aiokafka", "faust", "mode", "streams.transport", "urllib3", "clickhouse_connect", "numba")
"""`streams.transport` extends classes of Faust's, which name their loggers after the module of the subclass."""


def configure_logging(level: str = "info", *, as_json: bool | None = None, stream: TextIO | None = None) -> None:
    """Send all logging of this process to `stream` (default stderr) from `level` up; libraries from warning up.

    `as_json` None means JSON exactly when the stream is not a terminal. May be called again: the last call holds.
    """
    stream = sys.stderr if stream is None else stream
    as_json = not stream.isatty() if as_json is None else as_json
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    if as_json:
        shared.append(structlog.processors.format_exc_info)
    renderer: Processor = (
        structlog.processors.JSONRenderer(serializer=_json) if as_json else structlog.dev.ConsoleRenderer(colors=True)
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for library in _QUIET_LIBRARIES:
        logging.getLogger(library).setLevel(max(logging.WARNING, root.level))


def _json(event: EventDict, **_: object) -> str:
    # default=str: a value that JSON has no form for (a Path, a Decimal) must not cost the line.
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger; call as `log.info("sink.stopped", rows=100)`: the event's name first, then its facts."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
