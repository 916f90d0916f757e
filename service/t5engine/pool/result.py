"""The result of a generation, as callers of the engine get it."""

from __future__ import annotations

from typing import NamedTuple

from t5engine.messages import Generated


class Result(NamedTuple):
    """A generation and its milliseconds outside the worker.

    Attributes:
        generated: the worker's message.
        queue_ms: time in the queue.
        ipc_ms: time between the processes, both ways.
        cached: whether no worker decoded for this caller, because the result was known.
    """

    generated: Generated
    queue_ms: float
    ipc_ms: float
    cached: bool = False
