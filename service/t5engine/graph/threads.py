"""Chooses how many threads compute a graph: all of the worker's, or one."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

TRIAL = 4  # computations
WEIGHT = 0.1  # of a sample in the average
SLOW = 1.5  # times what was usual, to be tried at once
MARGIN = 0.9  # of the other's time, to be preferred to it
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds between two trials


@dataclass
class _Kind:
    """What is known of one kind of graph.

    Attributes:
        threads: how many compute it now.
        seconds: its average duration with them; 0: unknown.
        usual: what that was at the last trial.
        trial: durations with the other number, while that is tried.
        pause: seconds between trials.
        next_trial: when the next one begins.
    """

    threads: int
    seconds: float = 0.0
    usual: float = 0.0
    trial: list[float] | None = None
    pause: float = SHORTEST_PAUSE
    next_trial: float = 0.0


class ThreadChooser:
    """Uses one thread where more make work slower, and finds out while it works.

    Threads wait for one another after each operation, and they spin. So two threads are slower
    than one where operations are short, as in a small model, and very much slower where another
    process wants a core: a thread that has it waits for one that has not. Both are measured: from
    time to time a few graphs are computed with the other number of threads, at longer and longer
    intervals if that is slower, and at once if they have become slow.

    Args:
        threads: the worker's threads.
        clock: returns seconds.
    """

    def __init__(self, threads: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._most = threads
        self._clock = clock
        self._kinds: dict[Hashable, _Kind] = {}

    def choose(self, kind: Hashable) -> int:
        """Returns how many threads are to compute the next graph of a kind.

        Args:
            kind: what takes the same time whenever it is computed, such as a shape.
        """
        if self._most == 1:
            return 1
        known = self._kinds.setdefault(kind, _Kind(self._most))
        is_slow = known.seconds > SLOW * known.usual > 0
        if known.trial is None and (is_slow or self._clock() >= known.next_trial > 0):
            known.trial = []
        return known.threads if known.trial is None else self._other(known.threads)

    def record(self, kind: Hashable, seconds: float) -> None:
        """Records how long the graph took for which threads were chosen last."""
        if self._most == 1:
            return
        known = self._kinds[kind]
        if known.trial is None:
            known.seconds += (WEIGHT if known.seconds else 1.0) * (seconds - known.seconds)
            if not known.usual:  # the first one may have built a graph: there is no trial yet
                self._end_trial(known, SHORTEST_PAUSE)
            return
        known.trial.append(seconds)
        mean = sum(known.trial) / len(known.trial)
        if mean > known.seconds:  # not worth another one
            self._end_trial(known, min(2 * known.pause, LONGEST_PAUSE))
        elif len(known.trial) == TRIAL:
            if mean < MARGIN * known.seconds:
                known.threads, known.seconds = self._other(known.threads), mean
            self._end_trial(known, SHORTEST_PAUSE)

    def _end_trial(self, known: _Kind, pause: float) -> None:
        known.trial, known.pause, known.usual = None, pause, known.seconds
        known.next_trial = self._clock() + pause

    def _other(self, threads: int) -> int:
        return 1 if threads == self._most else self._most
