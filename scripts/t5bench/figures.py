"""Figures of a table, computed from the answers of requests."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from t5bench.runner import Answer

Figures = dict[str, Any]
T = TypeVar("T")


def summarise(answers: Sequence[Answer]) -> Figures:
    """Returns a candidate's figures for one pair of lengths, in milliseconds.

    Percentiles are interpolated linearly, numpy's default. `other_ms` is the median of
    `total_ms - native_ms`, if the engine reports `native_ms`. `cpu_seconds` is the median of
    `cpu_ms`: milliseconds of one query are seconds of a thousand.
    """
    totals = [answer.total_ms for answer in answers]
    non_native = [answer.total_ms - answer.native_ms for answer in answers if answer.native_ms]
    busy = [answer.cpu_ms for answer in answers if answer.cpu_ms is not None]
    return {
        "rounds": len(totals),
        "median_ms": statistics.median(totals),
        "p95_ms": float(np.percentile(totals, 95)),
        "p99_ms": float(np.percentile(totals, 99)),
        "other_ms": statistics.median(non_native) if non_native else None,
        "cpu_seconds": statistics.median(busy) if busy else None,
        "samples_ms": [round(total, 3) for total in totals],
    }


def time_per_token(medians: Mapping[int, float]) -> float | None:
    """Returns the slope between the shortest and the longest output, in milliseconds per token.

    Args:
        medians: Medians by tokens out, in milliseconds.
    """
    short, long = min(medians), max(medians)
    return (medians[long] - medians[short]) / (long - short) if short < long else None


def agreement(outputs: Sequence[Sequence[T]], reference: Sequence[Sequence[T]]) -> float:
    """Returns the share of outputs with the reference's tokens."""
    equal = sum(list(a) == list(b) for a, b in zip(outputs, reference, strict=True))
    return equal / len(reference)


def cut_at(tokens: Sequence[int], eos: int) -> list[int]:
    """Returns the tokens before the first `</s>`."""
    tokens = list(tokens)
    return tokens[: tokens.index(eos)] if eos in tokens else tokens
