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
class _Shape:
    """The threads of graphs of one shape.

    Attributes:
        threads: number of threads in use.
        seconds: average duration with these threads; 0: not measured yet.
        usual: the average at the end of the last trial.
        trial: durations with the other number of threads, while a trial runs; else None.
        pause: seconds between two trials.
        next_trial: time of the next trial.
        rest: durations still to be recorded before it.
    """

    threads: int
    seconds: float = 0.0
    usual: float = 0.0
    trial: list[float] | None = None
    pause: float = SHORTEST_PAUSE
    next_trial: float = 0.0
    rest: int = 0


class ThreadChooser:
    """Chooses between all threads and one, by the durations of computed graphs.

    Threads wait for one another after each operation, and they spin while they wait. Two threads
    are therefore slower than one where operations are short, as in a small model. They are many
    times slower where another process takes a core. So a few graphs are computed with the other
    number of threads from time to time (a trial). The pauses between trials grow while the other
    number is slower, in seconds and in computations: at a low rate a trial would else delay every
    few requests. A trial starts at once when graphs have become slow.

    Args:
        threads: the worker's threads.
        clock: returns seconds.
    """

    def __init__(self, threads: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._most = threads
        self._clock = clock
        self._shapes: dict[Hashable, _Shape] = {}

    def choose(self, shape: Hashable) -> int:
        """Returns how many threads are to compute the next graph of a shape.

        Args:
            shape: graphs of equal shapes take about the same time.
        """
        if self._most == 1:
            return 1
        state = self._shapes.setdefault(shape, _Shape(self._most))
        is_slow = state.seconds > SLOW * state.usual > 0
        is_due = not state.rest and self._clock() >= state.next_trial > 0
        if state.trial is None and (is_slow or is_due):
            state.trial = []
        return state.threads if state.trial is None else self._other(state.threads)

    def is_trying(self, shape: Hashable) -> bool:
        """Whether the threads that were chosen last for a shape are being tried."""
        return self._most > 1 and self._shapes[shape].trial is not None

    def record(self, shape: Hashable, seconds: float, count: int = 1) -> None:
        """Records how long the graph took for which threads were chosen last.

        Args:
            shape: the graph's shape.
            seconds: the duration, or the mean of several.
            count: number of computations; while threads are tried it is 1.
        """
        if self._most == 1:
            return
        state = self._shapes[shape]
        if state.trial is None:
            state.rest = max(0, state.rest - count)
            weight = 1 - (1 - WEIGHT) ** count if state.seconds else 1.0
            state.seconds += weight * (seconds - state.seconds)
            if not state.usual:  # the first one may have built a graph: there is no trial yet
                self._end_trial(state, SHORTEST_PAUSE)
            return
        state.trial.append(seconds)
        mean = sum(state.trial) / len(state.trial)
        is_complete = len(state.trial) == TRIAL
        if is_complete and mean < MARGIN * state.seconds:
            state.threads, state.seconds = self._other(state.threads), mean
            self._end_trial(state, SHORTEST_PAUSE)
        elif is_complete or mean > state.seconds:
            self._end_trial(state, min(2 * state.pause, LONGEST_PAUSE))

    def _end_trial(self, state: _Shape, pause: float) -> None:
        state.trial, state.pause, state.usual = None, pause, state.seconds
        state.next_trial = self._clock() + pause
        state.rest = round(pause / SHORTEST_PAUSE)

    def _other(self, threads: int) -> int:
        return 1 if threads == self._most else self._most
