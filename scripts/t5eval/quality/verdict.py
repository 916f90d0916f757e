"""Decides from figures which combinations do no harm, and which of them is recommended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from t5eval.quality.combination import COMBINATIONS, ORIGINAL
from t5eval.quality.comparison import METRICS
from t5eval.report import SIGNIFICANT
from t5eval.text_metrics import mean

NEGLIGIBLE = 0.001
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """What one combination does over all collections.

    Attributes:
        losses: Collection and metric of each significant loss.
        gains: Collection and metric of each significant gain.
        difference: By metric, the mean over collections of the difference to the original.
        worst: The least difference of a collection and metric.
    """

    combination: str
    task: str | None
    losses: list[tuple[str, str]]
    gains: list[tuple[str, str]]
    difference: dict[str, float]
    worst: float


def find_row(collection: Row, combination: str, task: str | None) -> Row:
    """Returns a collection's row of a combination and a task."""
    rows: Sequence[Row] = collection["rows"]
    return next(row for row in rows if row["combination"] == combination and row["task"] == task)


def judge(collections: Sequence[Row], combination: str, task: str | None) -> Verdict:
    """Returns the verdict on one combination."""
    losses: list[tuple[str, str]] = []
    gains: list[tuple[str, str]] = []
    differences: dict[str, list[float]] = {metric: [] for metric in METRICS}
    for collection in collections:
        row = find_row(collection, combination, task)
        original = find_row(collection, ORIGINAL, None)
        for metric in METRICS:
            difference = row[metric] - original[metric]
            differences[metric].append(difference)
            if row[f"{metric} p"] < SIGNIFICANT:
                (losses if difference < 0 else gains).append((collection["name"], metric))
    means = {metric: mean(values) or 0.0 for metric, values in differences.items()}
    worst = min(chain.from_iterable(differences.values()), default=0.0)
    return Verdict(combination, task, losses, gains, means, worst)


def rank_harmless(
    collections: Sequence[Row], others: Sequence[Row], tasks: Sequence[str]
) -> list[Verdict]:
    """Returns the combinations that do no harm, the most helpful first.

    Args:
        collections: What is searched by default: no significant loss, and no mean loss of more
            than a tenth of a point, which a larger sample might find significant.
        others: The same collections with other indices: no significant loss.
        tasks: The tasks that reformulations come from.
    """
    harmless = []
    for task in tasks:
        for name in COMBINATIONS:
            verdict = judge(collections, name, task)
            loses = verdict.losses or judge(others, name, task).losses
            if not loses and verdict.worst >= -NEGLIGIBLE:
                harmless.append(verdict)
    return sorted(harmless, key=lambda verdict: -sum(verdict.difference.values()))
