"""Logging: one line an event, for people or for machines, whoever of us or uvicorn writes it."""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

import structlog
from structlog.typing import EventDict, Processor

from t5engine.messages import Generated

LogFormat = Literal["console", "json"]


def configure(level: str, log_format: LogFormat) -> None:
    """Sends what the standard library's loggers say to standard error, through structlog.

    Fields come from `extra`, and from the request that is being answered.
    """
    renderers: dict[LogFormat, list[Processor]] = {
        "console": [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
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
            _without_colours,
            structlog.contextvars.merge_contextvars,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *renderers[log_format],
        ],
    )
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _without_colours(_logger: object, _name: str, event: EventDict) -> EventDict:
    """Without uvicorn's second, coloured text."""
    event.pop("color_message", None)
    return event


@dataclass
class Phases:
    """Where the time of a request went: its inputs, and milliseconds summed over them."""

    inputs: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    queue_ms: float = 0.0
    ipc_ms: float = 0.0
    worker_ms: float = 0.0
    tokenize_ms: float = 0.0
    encode_ms: float = 0.0
    decode_ms: float = 0.0

    def fields(self) -> dict[str, float]:
        """What a log line says of it: nothing where nothing was decoded."""
        if not self.inputs:
            return {}
        return {name: round(value, 2) for name, value in vars(self).items()}


_current: ContextVar[Phases] = ContextVar("phases")


def begin(request_id: str) -> Phases:
    """From now on, what is logged and decoded in this task and its children is this request's."""
    structlog.contextvars.bind_contextvars(request_id=request_id)
    phases = Phases()
    _current.set(phases)
    return phases


def generated(generated: Generated, queue_ms: float, ipc_ms: float) -> None:
    """Counts one decoded input for the request that asked for it."""
    phases = _current.get(None)
    if phases is not None:
        phases.inputs += 1
        phases.prompt_tokens += generated.prompt_tokens
        phases.completion_tokens += generated.completion_tokens
        phases.queue_ms += queue_ms
        phases.ipc_ms += ipc_ms
        phases.worker_ms += generated.timings.total
        phases.tokenize_ms += generated.timings.tokenize
        phases.encode_ms += generated.timings.encode
        phases.decode_ms += generated.timings.decode
