"""Tells on standard error how far a job is, and when it should be done."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TextIO

from tqdm import tqdm

from t5serve.errors import RequestError

SECONDS_TO_FIRST_LINE = 5.0
SECONDS_BETWEEN_LINES = 30.0
STOPS = (KeyboardInterrupt, asyncio.CancelledError, RequestError)
"""What ends a job that can go on later. The messages of other errors say so themselves."""


class Progress:
    """A bar on a terminal; elsewhere a line now and then.

    As a context manager it says at the beginning where a job goes on, and at the end how far it
    got.

    Args:
        total: the number of rows.
        done: the rows that an earlier run has done.
        file: where lines are written.
        clock: returns seconds.
    """

    def __init__(
        self,
        total: int,
        done: int,
        file: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bar: tqdm[Any] | None = None
        self._file = sys.stderr if file is None else file
        self._clock = clock
        self._total = total
        self._earlier = self._done = done
        self._started = clock()
        self._next_line_at = self._started + SECONDS_TO_FIRST_LINE

    def __enter__(self) -> Self:
        if self._earlier:
            self._print(f"continues after {self._earlier:,} of {self._total:,} rows")
        if self._file.isatty():
            self._bar = tqdm(total=self._total, initial=self._done, unit="row", file=self._file)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        if isinstance(error, STOPS):
            self._print(
                f"stopped after {self._done:,} of {self._total:,} rows;"
                " the same command with --resume continues"
            )
        elif error is None and self._bar is None:
            self._print(self.text())

    def add(self, count: int) -> None:
        """Adds rows that are done."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif self._clock() >= self._next_line_at:
            self._next_line_at = self._clock() + SECONDS_BETWEEN_LINES
            self._print(self.text())

    def text(self) -> str:
        """Returns how far the job is, at which rate, and how long it took or should still take."""
        seconds = self._clock() - self._started
        rate = (self._done - self._earlier) / max(1e-9, seconds)
        text = (
            f"{self._done:,} of {self._total:,} rows, {rate:,.{0 if rate >= 10 else 1}f} a second"
        )
        if self._done == self._total:
            return f"{text}, in {tqdm.format_interval(seconds)}"
        if rate:
            text += f", {tqdm.format_interval((self._total - self._done) / rate)} left"
        return text

    def _print(self, text: str) -> None:
        print(f"t5serve: {text}", file=self._file, flush=True)
