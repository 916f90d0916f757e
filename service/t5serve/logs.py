"""Logging: one line per event, for people or for machines, from t5serve and from uvicorn."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor

from t5engine.messages import Generated, Judged, Timings
from t5serve.log_writer import LogWriter

LogFormat = Literal["console", "json"]


def configure(level: str, log_format: LogFormat) -> LogWriter:
    """Formats the records of the standard library's loggers with structlog, to standard error.

    A line has the fields of the record's `extra` and of the current request.

    Returns:
        The handler that writes the lines.
    """
    renderers: dict[LogFormat, list[Processor]] = {
        "console": [
            structlog.dev.ConsoleRenderer(
                colors=has_colours(sys.stderr, os.environ),
                exception_formatter=structlog.dev.plain_traceback,
                sort_keys=False,
            )
        ],
        "json": [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
    }
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(),
            _drop_coloured_message,
            structlog.contextvars.merge_contextvars,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *renderers[log_format],
        ],
    )
    handler = LogWriter(sys.stderr.fileno())
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    return handler


def has_colours(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether what is written to a stream may be coloured.

    An empty variable is as good as unset. NO_COLOR is no-color.org's; CLICOLOR_FORCE and CLICOLOR,
    which come after it, are those of bixense.com/clicolors.
    """
    if environment.get("NO_COLOR"):
        return False
    if environment.get("CLICOLOR_FORCE", "0") not in ("", "0"):
        return True
    if environment.get("CLICOLOR") == "0" or environment.get("TERM") == "dumb":
        return False
    return stream.isatty()


def _drop_coloured_message(_logger: object, _name: str, event: EventDict) -> EventDict:
    """Removes the coloured copy of the message that uvicorn adds."""
    event.pop("color_message", None)
    return event


@dataclass
class RequestStats:
    """The inputs, tokens and durations of one request, each summed over its decoded inputs.

    Attributes:
        cached: inputs that were not decoded: their results were known.
    """

    inputs: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    queue_ms: float = 0.0
    ipc_ms: float = 0.0
    worker_ms: float = 0.0
    tokenize_ms: float = 0.0
    encode_ms: float = 0.0
    decode_ms: float = 0.0

    def record_times(self, timings: Timings, queue_ms: float, ipc_ms: float) -> None:
        """Adds the durations of an input."""
        self.queue_ms += queue_ms
        self.ipc_ms += ipc_ms
        self.worker_ms += timings.total
        self.tokenize_ms += timings.tokenize
        self.encode_ms += timings.encode
        self.decode_ms += timings.decode

    def log_fields(self) -> dict[str, float]:
        """Returns the fields of the log line; none if the request had no input."""
        if not self.inputs:
            return {"cached": self.cached} if self.cached else {}
        return {name: round(value, 2) for name, value in vars(self).items()}


_current: ContextVar[RequestStats] = ContextVar("request_stats")


def start_request(request_id: str) -> RequestStats:
    """Attributes the log lines and inputs of this task and its children to a request."""
    structlog.contextvars.bind_contextvars(request_id=request_id)
    stats = RequestStats()
    _current.set(stats)
    return stats


def record_generation(generated: Generated, queue_ms: float, ipc_ms: float) -> None:
    """Adds a decoded input to the stats of the current request."""
    stats = _current.get(None)
    if stats is not None:
        stats.inputs += 1
        stats.prompt_tokens += generated.prompt_tokens
        stats.completion_tokens += generated.completion_tokens
        stats.record_times(generated.timings, queue_ms, ipc_ms)


def record_judged(judged: Judged, queue_ms: float, ipc_ms: float) -> None:
    """Adds a judged document to the stats of the current request."""
    stats = _current.get(None)
    if stats is not None:
        stats.inputs += 1
        stats.prompt_tokens += judged.prompt_tokens
        stats.record_times(judged.timings, queue_ms, ipc_ms)


def record_cached() -> None:
    """Adds an input whose result was known to the stats of the current request."""
    stats = _current.get(None)
    if stats is not None:
        stats.cached += 1
