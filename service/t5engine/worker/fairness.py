"""Shares a worker's time between wide requests and narrow ones."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

from t5engine.messages import SPARE_ROWS
from t5engine.worker.job import Generation

LONG_ENCODE_SECONDS = 0.01
SEEN_SECONDS = 0.2  # a client that asks again and again has pauses
BULK_SHARE = 1 / 4  # of the time, for the inputs of a rerank while others decode
GAP_SECONDS = 0.01  # between two requests of a client that waits for each answer


class Fairness:
    """Decides which generations take part in a step, and when a long encode may begin.

    A step of many rows takes several times as long as a step of one row. While a narrow request
    runs beside a wide one, each of the two has half of the time, so a narrow request has several
    steps for each step of the wide one. A long encode can't be interrupted: afterwards, others
    have as much time as it took. The inputs of a rerank are many, and nobody reads their results
    one by one: while others decode, they have a quarter of the time.

    Args:
        clock: returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._balance = 0.0
        """Seconds that wide requests had more than narrow ones, since both were there."""
        self._seen: dict[Hashable, float] = {}
        """When a turn was last there, for the latest turns."""
        self._decoded: dict[Hashable, float] = {}
        """When a turn was last decoded, for the latest turns."""
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
        self.record_decoding(generations)
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
        self._seen = self._latest(self._seen, turns)

    def record_decoding(self, generations: Sequence[Generation]) -> None:
        """Notes that requests are being decoded."""
        turns = [generation.request.turn for generation in generations]
        self.record_turns(turns)
        self._decoded = self._latest(self._decoded, turns)

    def _latest(
        self, times: Mapping[Hashable, float], turns: Iterable[Hashable]
    ) -> dict[Hashable, float]:
        now = self._clock()
        latest = {turn: at for turn, at in times.items() if now - at < SEEN_SECONDS}
        return latest | dict.fromkeys(turns, now)

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
        if estimate < LONG_ENCODE_SECONDS:
            return 0.0
        if is_bulk:
            return self._seconds_to_bulk(turn, are_others_stepping=are_others_stepping)
        if all(other == turn for other in self._seen):
            return 0.0
        remaining = max(0.0, self._encode_after - self._clock())
        # The time after a long encode is for other requests: an encode of theirs may use it.
        if turn != self._encoded and (estimate <= remaining or not are_others_stepping):
            return 0.0
        return remaining

    def _seconds_to_bulk(self, turn: Hashable, *, are_others_stepping: bool) -> float:
        """Returns the seconds to wait before an input of a rerank is encoded.

        An encode can't be stopped. A client that asks again and again is back in a moment, so
        after its request ended an encode waits for that moment as well.
        """
        now = self._clock()
        times = [at for other, at in self._decoded.items() if other != turn]
        if not times or now - max(times) > SEEN_SECONDS:
            return 0.0
        expected = math.inf if are_others_stepping else max(times) + GAP_SECONDS
        return max(0.0, min(self._bulk_after, expected) - now)

    def record_encode(self, turn: Hashable, seconds: float) -> None:
        """Counts the time of a request's encode that has just ended, or of its only step."""
        if seconds >= LONG_ENCODE_SECONDS:
            now = self._clock()
            self._encode_after = max(self._encode_after, now + seconds)
            self._bulk_after = max(self._bulk_after, now + seconds * (1 / BULK_SHARE - 1))
            self._encoded = turn
