"""Counts the requests that use a model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Users:
    """The requests that use a model now.

    Attributes:
        count: how many there are.
        left_at: when the last one left, in seconds by time.monotonic.
        on_none: called when the last one has left.
    """

    def __init__(self) -> None:
        self.count = 0
        self.left_at = time.monotonic()
        self.on_none: Callable[[], None] = lambda: None
        self._none = asyncio.Event()
        self._none.set()

    @contextmanager
    def join(self) -> Iterator[None]:
        """Counts a request until the context ends."""
        self.count += 1
        self._none.clear()
        try:
            yield
        finally:
            self.count -= 1
            if not self.count:
                self.left_at = time.monotonic()
                self._none.set()
                self.on_none()

    async def wait_until_none(self) -> None:
        """Waits until no request uses the model."""
        await self._none.wait()
