"""How far training is, and the learning rate there; counted in time, steps, or both."""

from __future__ import annotations

import math
from dataclasses import dataclass

LONGEST_STEP = 5.0  # times what a step takes; of a longer one the rest was a pause


@dataclass
class Schedule:
    """Warm-up, the peak for a while, then a cosine down; ends with the minutes or the steps.

    A training with a long `hold` can be ended well at any time: start it again with fewer minutes
    and a smaller `hold`, and what is left is the cosine.
    """

    minutes: float = math.inf
    steps: float = math.inf
    warmup: float = 100  # steps
    hold: float = 0.0  # share of the training before the cosine begins
    floor: float = 0.01
    step: int = 0
    seconds: float = 0.0
    usual: float = math.inf  # seconds that a step takes, the average of the last ones

    def tick(self, seconds: float) -> None:
        """One step was made, in so many seconds."""
        self.step += 1
        seconds = min(seconds, LONGEST_STEP * self.usual)
        self.usual = seconds if math.isinf(self.usual) else 0.9 * self.usual + 0.1 * seconds
        self.seconds += seconds

    @property
    def progress(self) -> float:
        """From 0 to 1."""
        return min(1.0, max(self.seconds / (60 * self.minutes), self.step / self.steps))

    @property
    def factor(self) -> float:
        """What the peak learning rate is multiplied with."""
        warm = min(1.0, (self.step + 1) / (self.warmup + 1))
        along = max(0.0, self.progress - self.hold) / (1 - self.hold) if self.hold < 1 else 0.0
        return warm * (self.floor + (1 - self.floor) * (1 + math.cos(math.pi * along)) / 2)
