"""Waits while a file is there, so that a long work can leave the machine to something else."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

SECONDS = 2.0  # between two looks


def pause(path: Path | None) -> Callable[[], float]:
    """A function that waits while the file is there and returns the seconds that it waited."""

    def wait() -> float:
        started = time.monotonic()
        while path is not None and path.exists():
            time.sleep(SECONDS)
        return time.monotonic() - started

    return wait
