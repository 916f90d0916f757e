"""Slows down refusals while there are very many of them."""

from __future__ import annotations

import time
from collections import deque

WINDOW_SECONDS = 0.25
FREE_REFUSALS = 25  # in a window; these are not delayed
DELAY_SECONDS = 0.04


class Brake:
    """Delays refusals of clients that come back without a pause.

    Such clients take the processor from the jobs that are in time.
    """

    def __init__(self) -> None:
        self._refusals: deque[float] = deque(maxlen=FREE_REFUSALS)

    @property
    def is_recent(self) -> bool:
        """Whether a refusal was counted lately."""
        now = time.perf_counter()
        return bool(self._refusals) and now - self._refusals[-1] < WINDOW_SECONDS

    def delay(self) -> float:
        """Counts a refusal; returns the seconds to wait before it is sent."""
        now = time.perf_counter()
        is_full = len(self._refusals) == FREE_REFUSALS
        is_storm = is_full and now - self._refusals[0] < WINDOW_SECONDS
        self._refusals.append(now)
        return DELAY_SECONDS if is_storm else 0.0
