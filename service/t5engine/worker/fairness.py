"""Shares a worker's time between wide requests and narrow ones."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence

from t5engine.messages import SPARE_ROWS
from t5engine.worker.job import Generation

LONG_ENCODE_SECONDS = 0.01
SEEN_SECONDS = 0.2  # a client that asks again and again has pauses
BULK_SHARE = 1 / 3  # of the time, for the inputs of a rerank while others decode


class Fairness:
    """Decides which generations take part in a step, and when a long encode may begin.

    A step of many rows takes several times as long as a step of one row. While a narrow request
    runs beside a wide one, each of the two has half of the time, so a narrow request has several
    steps for each step of the wide one. A long encode can't be interrupted: afterwards, others
    have as much time as it took. The inputs of a rerank are many, and nobody reads their results
    one by one: while others decode, they have a third of the time.

    Args:
        clock: returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._balance = 0.0
        """Seconds that wide requests had more than narrow ones, since both were there."""
        self._seen: dict[Hashable, float] = {}
        """When a turn was last there, for the latest turns."""
        self._encode_after = 0.0
        self._bulk_after = 0.0
        """When an input of a rerank may be encoded while others decode."""
        self._encoded: Hashable = None
        """The turn of the last long encode."""

    def choose(
        self, generations: Sequence[Generation]
    ) -> tuple[Sequence[Generation], Sequence[Generation]]:
        """Splits generations into those of the next step, and the others.

        Returns:
            The generations of the next step, and those that wait.
        """
        self.record_turns(generation.request.turn for generation in generations)
        if len(generations) == 1:
            return generations, []
        rows: Counter[Hashable] = Counter()
        for generation in generations:
            rows[generation.request.turn] += len(generation.rows)
        narrow = [one for one in generations if rows[one.request.turn] <= SPARE_ROWS]
        wide = [one for one in generations if rows[one.request.turn] > SPARE_ROWS]
        if narrow and wide:
            return (narrow, wide) if self._balance > 0 else (wide, narrow)
        return generations, []

    def record_step(self, rows: int, seconds: float, *, is_shared: bool) -> None:
        """Counts the time of a step.

        Args:
            rows: the rows of the step.
            seconds: its duration.
            is_shared: whether other generations waited during the step.
        """
        signed = seconds if rows > SPARE_ROWS else -seconds
        # Unshared time is not saved up: a request that joins a wide one gets the next step.
        self._balance = self._balance + signed if is_shared else signed

    def record_turns(self, turns: Iterable[Hashable]) -> None:
        """Notes that requests are there."""
        now = self._clock()
        self._seen = {turn: at for turn, at in self._seen.items() if now - at < SEEN_SECONDS}
        self._seen |= dict.fromkeys(turns, now)

    def seconds_to_encode(
        self,
        turn: Hashable,
        estimate: float,
        *,
        are_others_stepping: bool = True,
        is_bulk: bool = False,
    ) -> float:
        """Returns the seconds to wait before a request's encode begins; 0: it may begin.

        Args:
            turn: the request's turn.
            estimate: the seconds that the encode should take.
            are_others_stepping: whether jobs are being decoded, which would wait for the encode.
            is_bulk: whether the input is one of a rerank.
        """
        has_others = any(other != turn for other in self._seen)
        if estimate < LONG_ENCODE_SECONDS or not has_others:
            return 0.0
        if is_bulk and are_others_stepping:
            return max(0.0, self._bulk_after - self._clock())
        remaining = max(0.0, self._encode_after - self._clock())
        # The time after a long encode is for other requests: an encode of theirs may use it.
        if turn != self._encoded and (estimate <= remaining or not are_others_stepping):
            return 0.0
        return remaining

    def record_encode(self, turn: Hashable, seconds: float) -> None:
        """Counts the time of a request's encode that has just ended, or of its only step."""
        if seconds >= LONG_ENCODE_SECONDS:
            now = self._clock()
            self._encode_after = max(self._encode_after, now + seconds)
            self._bulk_after = max(self._bulk_after, now + seconds * (1 / BULK_SHARE - 1))
            self._encoded = turn
