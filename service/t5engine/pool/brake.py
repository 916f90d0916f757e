"""Slows down refusals while there are very many of them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

WINDOW_SECONDS = 0.25
FREE_REFUSALS = 25  # per window; these are not delayed
MIN_DELAY_SECONDS, MAX_DELAY_SECONDS = 0.03, 0.1
REFUSALS_PER_SECOND = 2000.0  # more would take processor time from the jobs that are accepted


class Brake:
    """Delays refusals while clients retry without a pause.

    Args:
        clock: returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._refusals: deque[float] = deque(maxlen=FREE_REFUSALS)
        self._releases: deque[float] = deque()
        """Times at which delayed refusals are sent, ascending."""

    @property
    def is_recent(self) -> bool:
        """Whether a refusal was counted recently."""
        now = self._clock()
        return bool(self._refusals) and now - self._refusals[-1] < WINDOW_SECONDS

    def delay(self) -> float:
        """Counts a refusal; returns the seconds to wait before it is sent."""
        now = self._clock()
        is_full = len(self._refusals) == FREE_REFUSALS
        is_storm = is_full and now - self._refusals[0] < WINDOW_SECONDS
        self._refusals.append(now)
        if not is_storm:
            return 0.0
        while self._releases and self._releases[0] <= now:
            self._releases.popleft()
        clients = len(self._releases)  # each of them retries as soon as its refusal is sent
        delay = max(MIN_DELAY_SECONDS, min(MAX_DELAY_SECONDS, clients / REFUSALS_PER_SECOND))
        self._releases.append(now + delay)
        return delay
