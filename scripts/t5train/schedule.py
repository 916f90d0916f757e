"""The progress of a training, in time, steps or both, and the learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

LONGEST_STEP = 5.0  # in mean steps; the time of a longer step beyond that was a pause


@dataclass
class Schedule:
    """Warms up, holds the peak, then decays by a cosine; ends after `minutes` or `steps`.

    A training with a long `hold` can be ended early: start it again with fewer minutes and a
    smaller `hold`, and the remaining steps follow the cosine.
    """

    minutes: float = math.inf
    steps: float = math.inf
    warmup: float = 100  # steps
    hold: float = 0.0  # share of the training before the cosine begins
    floor: float = 0.01
    step: int = 0
    seconds: float = 0.0
    step_seconds: float = math.inf  # the running mean of the last steps

    def tick(self, seconds: float) -> None:
        """Counts a step that took `seconds`."""
        self.step += 1
        seconds = min(seconds, LONGEST_STEP * self.step_seconds)
        mean = seconds if math.isinf(self.step_seconds) else 0.9 * self.step_seconds + 0.1 * seconds
        self.step_seconds = mean
        self.seconds += seconds

    @property
    def progress(self) -> float:
        """The progress, 0 to 1."""
        return min(1.0, max(self.seconds / (60 * self.minutes), self.step / self.steps))

    @property
    def factor(self) -> float:
        """The learning rate / the peak learning rate."""
        warm = min(1.0, (self.step + 1) / (self.warmup + 1))
        decay = max(0.0, self.progress - self.hold) / (1 - self.hold) if self.hold < 1 else 0.0
        return warm * (self.floor + (1 - self.floor) * (1 + math.cos(math.pi * decay)) / 2)
