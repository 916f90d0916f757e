"""Measures what encoding an input and decoding a step cost on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from t5engine.messages import Costs
from t5engine.rows import padded_rows
from t5engine.worker.model import Model

WEIGHT = 0.1  # of a sample in the average
CALIBRATION_SECONDS = 1.0  # a large model is measured at fewer shapes
CALIBRATION_CALLS = 4
CALIBRATION_TOKENS = (8, 32, 128)
CALIBRATION_ROWS = (1, 4, 16)
NO_COSTS = Costs()


class CostMeter:
    """Averages durations by shape.

    A sample counts as three times the average at most. So a call that builds a graph, and a
    neighbour that takes the processor for a moment, hardly count.

    Args:
        costs: the averages to begin with.
    """

    def __init__(self, costs: Costs = NO_COSTS) -> None:
        self._encodes = dict(costs.encodes)
        """Seconds by tokens, rounded up to a power of two."""
        self._steps = dict(costs.steps)
        """Seconds by padded rows."""

    def record_encode(self, tokens: int, seconds: float) -> None:
        """Records an encode of an input."""
        size = 1 << (tokens - 1).bit_length()
        # A shorter input of the same size costs less: scale it.
        _average(self._encodes, size, seconds * size / tokens if tokens > size // 2 else seconds)

    def record_step(self, rows: int, seconds: float, count: int = 1) -> None:
        """Records steps of so many rows: how long each took, and how many there were."""
        _average(self._steps, padded_rows(rows), seconds, count)

    def encode_seconds(self, tokens: int) -> float:
        """Estimates an encode: as of the next larger size that was measured, 0 if none was."""
        sizes = [size for size in self._encodes if size >= tokens] or list(self._encodes)
        if not sizes:
            return 0.0
        nearest = min(sizes) if min(sizes) >= tokens else max(sizes)
        return self._encodes[nearest] * max(1.0, tokens / nearest)

    def step_seconds(self, rows: int) -> float:
        """Estimates a step: as of the next larger number of rows that was measured, 0 if none."""
        sizes = [size for size in self._steps if size >= rows] or list(self._steps)
        return self._steps[min(sizes) if min(sizes) >= rows else max(sizes)] if sizes else 0.0

    @property
    def costs(self) -> Costs:
        """The averages, ordered by size."""
        return Costs(encodes=sorted(self._encodes.items()), steps=sorted(self._steps.items()))


def _average(averages: dict[int, float], key: int, sample: float, count: int = 1) -> None:
    average = averages.setdefault(key, sample)
    averages[key] += (1 - (1 - WEIGHT) ** count) * (min(sample, 3 * average) - average)


def calibrate(model: Model, meter: CostMeter) -> None:
    """Measures a few shapes: the fastest of several calls, after one that builds the graph."""
    backend = model.backend
    ended = time.perf_counter() + CALIBRATION_SECONDS
    for tokens in _below(CALIBRATION_TOKENS, backend.max_input_tokens):
        seconds = [_time_encode(model, tokens) for _ in _attempts(ended)]
        if len(seconds) > 1:
            meter.record_encode(tokens, min(seconds))
    for rows in _below(CALIBRATION_ROWS, backend.rows):
        seconds = [time_step(model, rows) for _ in _attempts(ended)]
        if len(seconds) > 1:
            meter.record_step(rows, min(seconds))


def _attempts(ended: float) -> Iterator[int]:
    for attempt in range(CALIBRATION_CALLS):
        if time.perf_counter() > ended:
            return
        yield attempt


def _time_encode(model: Model, tokens: int) -> float:
    started = time.perf_counter()
    model.backend.encode(0, [model.vocabulary.eos] * tokens)
    seconds = time.perf_counter() - started
    model.backend.release(0)
    return seconds


def time_step(model: Model, count: int) -> float:
    """Returns the seconds of a step of so many rows."""
    rows = list(range(count))
    model.backend.encode(0, [model.vocabulary.eos])
    model.backend.reorder(rows, [0] * count)
    started = time.perf_counter()
    model.backend.step(rows, [model.start_token] * count)
    seconds = time.perf_counter() - started
    for row in rows:
        model.backend.release(row)
    return seconds


def _below(sizes: Iterable[int], limit: int) -> list[int]:
    return [size for size in sizes if size <= limit]
