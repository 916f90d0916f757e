"""From what requests took to what a table says."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from t5bench.contestant import Answer

Figures = dict[str, Any]
T = TypeVar("T")


def cell(answers: Sequence[Answer]) -> Figures:
    """Of one contestant's requests of one kind, all in milliseconds.

    Percentiles lie between the two nearest requests, as numpy has it; `other_ms` is the median
    of what was not native code, of an engine that tells.
    """
    totals = [answer.total_ms for answer in answers]
    others = [answer.total_ms - answer.native_ms for answer in answers if answer.native_ms]
    return {
        "rounds": len(totals),
        "median_ms": statistics.median(totals),
        "p95_ms": float(np.percentile(totals, 95)),
        "p99_ms": float(np.percentile(totals, 99)),
        "other_ms": statistics.median(others) if others else None,
        "samples_ms": [round(total, 3) for total in totals],
    }


def token_ms(medians: Mapping[int, float]) -> float | None:
    """What one more token costs: the slope between the shortest and the longest output.

    Args:
        medians: by tokens out, in milliseconds.
    """
    short, long = min(medians), max(medians)
    return (medians[long] - medians[short]) / (long - short) if short < long else None


def agreement(found: Sequence[Sequence[T]], reference: Sequence[Sequence[T]]) -> float:
    """Share of the outputs that are the reference's, token for token."""
    equal = sum(list(one) == list(other) for one, other in zip(found, reference, strict=True))
    return equal / len(reference)


def until(tokens: Sequence[int], end: int) -> list[int]:
    """The tokens before the first end mark."""
    tokens = list(tokens)
    return tokens[: tokens.index(end)] if end in tokens else tokens
