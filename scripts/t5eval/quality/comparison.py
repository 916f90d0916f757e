"""Compares ways to search with the original queries of a collection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from t5eval.collection import Query
from t5eval.messages import Answer
from t5eval.quality.combination import ORIGINAL
from t5eval.retrieval import Figures, find_units, score_rankings
from t5eval.significance import randomisation_p_value
from t5eval.text_metrics import mean
from t5serve.reformulation.text import fold

METRICS = ("nDCG@10", "recall@100")
FIRST = 10  # documents that a user sees
Row = dict[str, Any]
Search = Callable[[Query, Sequence[str]], list[int]]
"""Returns the ranking of a query and its reformulations, best first."""


class Comparison:
    """Rows of figures of one collection, each compared with the first, the original's."""

    def __init__(self, queries: Sequence[Query], seed: int) -> None:
        self.rows: list[Row] = []
        self._queries = queries
        self._units = find_units(queries)
        self._seed = seed
        self._rankings: list[list[int]] = []
        self._figures: Figures = {}

    def add(
        self,
        name: str,
        task: str | None,
        search: Search,
        answers: Sequence[Answer],
    ) -> None:
        """Searches with each query and its answers, and adds a row."""
        rankings = [
            search(query, answer.texts)
            for query, answer in zip(self._queries, answers, strict=True)
        ]
        figures = score_rankings(self._queries, rankings)
        row: Row = {"combination": name, "task": task}
        row |= {metric: float(np.mean(figures[metric])) for metric in METRICS}
        if name == ORIGINAL:
            self._rankings, self._figures = rankings, figures
        else:
            row |= compare(figures, self._figures, self._units, self._seed)
            row["changed"] = mean(
                any(fold(text) != fold(query.text) for text in answer.texts)
                for query, answer in zip(self._queries, answers, strict=True)
            )
            row["changed first ten"] = mean(
                ranking[:FIRST] != original[:FIRST]
                for ranking, original in zip(rankings, self._rankings, strict=True)
            )
        self.rows.append(row)


def compare(figures: Figures, baseline: Figures, units: Sequence[Any], seed: int) -> Row:
    """Returns, for each metric, p and the mean difference of the tenth that loses most."""
    row: Row = {}
    for metric in METRICS:
        values, before = figures[metric], baseline[metric]
        row[f"{metric} p"] = randomisation_p_value(values, before, seed=seed, units=units)
        row[f"{metric} worst decile"] = find_worst_decile(np.subtract(values, before).tolist())
    return row


def find_worst_decile(differences: Sequence[float]) -> float:
    """Returns the mean of the lowest tenth of the differences."""
    worst = sorted(differences)[: max(1, len(differences) // 10)]
    return float(np.mean(worst))
