"""Runs work in a forked process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any


def in_fork(work: Callable[[], object]) -> Any:
    """Runs the work in a forked process; returns what it returns, by way of JSON, else None."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        answer = b"null"
        try:
            answer = json.dumps(work()).encode()
        finally:
            os.write(writer, answer)
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return json.loads(answer)
