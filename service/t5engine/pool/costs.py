"""Estimates the time of a job, from the workers' measurements and from earlier jobs."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Sequence

from t5engine.messages import (
    JUDGED_TOGETHER,
    Costs,
    Generate,
    Generated,
    JobMessage,
    Judge,
    Judged,
)

WEIGHT = 0.05  # of the latest job in the moving averages
TOKENS_PER_CHARACTER = 0.3  # until the first jobs are done; English has a quarter
MIN_CORRECTION, MAX_CORRECTION = 0.5, 4.0
MARGIN_ERRORS = 3.0
MAX_ERROR = 0.1  # seconds; a job that waits for a restart says nothing about others
FIRST_STEPS = 1.0  # optimistic, until the first jobs are done
FEW_DEVIATIONS = -2.0  # few jobs take fewer steps than the average less so many deviations
FADE_SECONDS = 0.1  # an engine without jobs forgets half of what load taught it in this time


class CostModel:
    """Estimates seconds. Without measurements all estimates are 0, so nothing is refused.

    Attributes:
        costs: the workers' latest measurements.
        fastest_costs: the lowest measurement of each shape; load can't raise these.
        correction: measured seconds / forecast seconds; above 1, because later jobs join.
        lag: seconds of a job outside its worker, because messages wait for a busy process.
        error: average difference, in seconds, between a forecast and what happened.
        max_input_tokens: the most tokens of an input; longer ones are refused or shortened.
    """

    def __init__(self) -> None:
        self.costs = Costs()
        self.fastest_costs = Costs()
        self.correction = 1.0
        self.lag = 0.0
        self.error = 0.0
        self.max_input_tokens: float = math.inf
        self._tokens_per_character = TOKENS_PER_CHARACTER
        self._steps: float | None = None
        """Average number of steps of a job."""
        self._deviation = 0.0
        """Mean absolute deviation of the number of steps."""

    def record_costs(self, costs: Costs) -> None:
        """Stores a worker's measurements."""
        self.costs = costs
        fastest = self.fastest_costs
        self.fastest_costs = Costs(
            encodes=_fastest([*fastest.encodes, *costs.encodes]),
            steps=_fastest([*fastest.steps, *costs.steps]),
        )

    def forget_load(self, seconds: float) -> None:
        """Forgets what load taught, after so many seconds without jobs."""
        kept = 0.5 ** (seconds / FADE_SECONDS)
        self.correction = min(self.correction, 1 + kept * (self.correction - 1))
        self.lag *= kept
        self.error *= kept

    def record(self, message: JobMessage, outcome: Generated) -> None:
        """Learns from a job: the tokens of its input, and the steps that it took."""
        self._record_tokens(message, outcome.prompt_tokens)
        steps = max(output.decoded for output in outcome.outputs)
        if self._steps is None:
            self._steps = steps
        self._deviation += WEIGHT * (abs(steps - self._steps) - self._deviation)
        self._steps += WEIGHT * (steps - self._steps)

    def record_judged(self, message: JobMessage, outcome: Judged) -> None:
        """Learns from a judgement: the tokens of its input."""
        self._record_tokens(message, outcome.prompt_tokens)

    def _record_tokens(self, message: JobMessage, tokens: int) -> None:
        is_whole = tokens < self.max_input_tokens  # else the text may have been shortened
        if isinstance(message, Generate | Judge) and message.text and is_whole:
            ratio = tokens / len(message.text)
            self._tokens_per_character += WEIGHT * (ratio - self._tokens_per_character)

    def record_forecast(
        self, forecast: float, elapsed: float, worker_seconds: float | None = None
    ) -> None:
        """Compares a forecast with what happened to the job.

        Args:
            forecast: the seconds that were forecast for the job in its worker.
            elapsed: the seconds since its dispatch.
            worker_seconds: the seconds that it took in its worker; None: the deadline passed first.
        """
        error = abs(elapsed - self.lag - self.correction * forecast)
        self.error += WEIGHT * (min(error, MAX_ERROR) - self.error)
        if worker_seconds is None:
            worker_seconds = max(elapsed - self.lag, 1.5 * self.correction * forecast)
        else:
            self.lag += WEIGHT * (max(0.0, elapsed - worker_seconds) - self.lag)
        if forecast > 0:
            ratio = min(MAX_CORRECTION, max(MIN_CORRECTION, worker_seconds / forecast))
            self.correction += WEIGHT * (ratio - self.correction)

    def seconds(self, message: JobMessage, rows: int) -> float:
        """Estimates a job that is decoded in steps of so many rows."""
        return self.encode_seconds(message) + self.steps(message) * self.step_seconds(rows)

    def fastest_seconds(self, message: JobMessage, rows: int) -> float:
        """Estimates a short job of so many rows on a machine with nothing else to do."""
        encode = _interpolate(self.fastest_costs.encodes, self._input_tokens(message))
        step = _interpolate(self.fastest_costs.steps, rows)
        return encode + self.steps(message, FEW_DEVIATIONS) * step

    def judging_seconds(self, lengths: Sequence[int]) -> float:
        """Estimates the seconds of an idle worker that judges texts of so many characters."""
        costs = self.fastest_costs
        encodes = sum(_interpolate(costs.encodes, self._tokens_of(length)) for length in lengths)
        steps = math.ceil(len(lengths) / JUDGED_TOGETHER)
        return encodes + steps * _interpolate(costs.steps, JUDGED_TOGETHER)

    @property
    def margin(self) -> float:
        """Seconds by which a job should end before its deadline, so that few end late."""
        return MARGIN_ERRORS * self.error

    def shared_seconds(self, message: JobMessage, width: int, rows: int) -> float:
        """Estimates a job's share of a worker that decodes so many rows."""
        share = min(1.0, width / rows)
        steps = self.steps(message) * self.step_seconds(max(width, rows))
        return self.encode_seconds(message) + share * steps

    def encode_seconds(self, message: JobMessage) -> float:
        """Estimates the encode of a job's input."""
        return _interpolate(self.costs.encodes, self._input_tokens(message))

    def step_seconds(self, rows: int) -> float:
        """Estimates a step of so many rows."""
        return _interpolate(self.costs.steps, rows) if rows else 0.0

    def steps(self, message: JobMessage, deviations: float = 0.0) -> float:
        """Estimates the number of a job's steps."""
        if not isinstance(message, Generate) or self._steps is None:
            return FIRST_STEPS
        steps = self._steps + deviations * self._deviation
        return max(FIRST_STEPS, min(steps, message.config.max_tokens))

    def _input_tokens(self, message: JobMessage) -> float:
        if isinstance(message, Judge):
            return self._tokens_of(len(message.text))
        if not isinstance(message, Generate):
            return 1.0
        if message.text is None:
            return max(1, len(message.ids or []))
        tokens = max(1.0, len(message.text) * self._tokens_per_character)
        return tokens if message.cut is None else min(tokens, self.max_input_tokens)

    def _tokens_of(self, characters: int) -> float:
        """Estimates the tokens of a text that is shortened if it is too long."""
        return min(self.max_input_tokens, max(1.0, characters * self._tokens_per_character))


def _fastest(points: Iterable[tuple[int, float]]) -> list[tuple[int, float]]:
    """Returns the lowest seconds of each size; a smaller size never takes longer."""
    fastest: dict[int, float] = {}
    least = math.inf
    for size, seconds in sorted(points, reverse=True):
        fastest[size] = least = min(least, seconds)
    return sorted(fastest.items())


def _interpolate(points: Sequence[tuple[int, float]], x: float) -> float:
    """Interpolates between points with ascending x; beyond the last, in proportion to x."""
    if not points:
        return 0.0
    index = bisect.bisect_left(points, x, key=lambda point: point[0])
    if index == 0:
        return points[0][1]
    if index == len(points):
        last, seconds = points[-1]
        return seconds * x / last
    (low, low_seconds), (high, high_seconds) = points[index - 1 : index + 1]
    return low_seconds + (high_seconds - low_seconds) * (x - low) / (high - low)
