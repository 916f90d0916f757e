"""Tells on standard error how far a job is, and when it should be done."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 30.0


class Progress:
    """A bar on a terminal; elsewhere a line now and then.

    Args:
        total: the number of rows.
        done: the rows that an earlier run has done.
    """

    def __init__(self, total: int, done: int, file: TextIO = sys.stderr) -> None:
        self._bar: tqdm[Any] | None = None
        if file.isatty():
            self._bar = tqdm(total=total, initial=done, unit="row", file=file)
        self._file = file
        self._total = total
        self._earlier = self._done = done
        self._started = time.monotonic()
        self._told_at = self._started

    def add(self, count: int) -> None:
        """Adds rows that are done."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif time.monotonic() - self._told_at >= SECONDS_BETWEEN_LINES:
            self._told_at = time.monotonic()
            print(f"t5serve: {self.text()}", file=self._file, flush=True)

    def text(self) -> str:
        """Returns how far the job is, at which rate, and how long the remainder should take."""
        rate = (self._done - self._earlier) / max(1e-9, time.monotonic() - self._started)
        text = f"{self._done:,} of {self._total:,} rows, {rate:,.0f} a second"
        if rate and self._done < self._total:
            text += f", {tqdm.format_interval((self._total - self._done) / rate)} left"
        return text

    def close(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._bar.close()
