"""Whether reformulations find more: BM25 over a collection, by the query and by more than it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
from tqdm import tqdm

from t5eval.collection import Collection, Query
from t5eval.ranking import fused, ndcg, recall, reciprocal_rank
from t5eval.significance import randomisation
from t5eval.systems import Answer
from t5serve.reformulation.text import plain_words

K1, B = 1.5, 0.75
DEPTH = 1000  # of every ranking, before and after fusion
METRICS = ("nDCG@10", "recall@100", "MRR")

Scores = dict[str, list[float]]
"""By metric, a figure for each query."""


class Index:
    """bm25s (Lucene's variant of BM25) over folded words, stemmed, without Lucene's stop words."""

    def __init__(self, documents: Sequence[str]) -> None:
        import bm25s  # noqa: PLC0415 - of the extra
        import Stemmer  # noqa: PLC0415 - of the extra
        from bm25s.stopwords import STOPWORDS_EN  # noqa: PLC0415

        self._stem: Any = Stemmer.Stemmer("english").stemWords
        self._stop_words = frozenset(STOPWORDS_EN)
        self._bm25: Any = bm25s.BM25(method="lucene", k1=K1, b=B)
        tokens = [self.tokens(document) for document in documents]
        self._bm25.index(tokens, show_progress=False)

    def tokens(self, text: str) -> list[str]:
        """What a text is found by."""
        kept = [word for word in plain_words(text) if word not in self._stop_words]
        stems: list[str] = self._stem(kept)
        return stems

    def ranking(self, text: str, excluded: AbstractSet[int] = frozenset()) -> list[int]:
        """The documents that share a token with it, best first, of equal ones the first."""
        tokens = self.tokens(text)
        if not tokens:
            return []
        scores = self._bm25.get_scores(tokens)
        order = np.argsort(-scores, kind="stable")[: DEPTH + len(excluded)]
        found = (int(place) for place in order if scores[place] > 0)
        return [place for place in found if place not in excluded][:DEPTH]


def figures(
    collection: Collection,
    answers: Mapping[str, tuple[Sequence[Answer], Sequence[Answer]]],
    *,
    several: int,
    seed: int,
) -> list[dict[str, Any]]:
    """A row for the queries themselves, and two for each system, with means and p-values.

    Args:
        collection: where to search.
        answers: by system, for each query: the one reformulation; several, to fuse with it.
        several: how many of these were asked for; there may be fewer.
        seed: of the test against the queries themselves.
    """
    index = Index(collection.documents)
    queries = collection.queries
    originals = [index.ranking(query.text, query.excluded) for query in queries]
    baseline = scored(queries, originals)
    rows = [_row("original", None, baseline, None, seed)]
    for system, (single, more) in answers.items():
        bar = tqdm(queries, desc=f"{collection.name}, {system}", unit="query", disable=None)
        alone, together = [], []
        for query, original, one, many in zip(bar, originals, single, more, strict=True):
            alone.append(index.ranking(one.texts[0], query.excluded))
            # Nothing usable leaves the query by itself: twice the same would change nothing.
            others = [] if many.fell_back else many.texts
            rankings = [original, *(index.ranking(text, query.excluded) for text in others)]
            together.append(fused(rankings)[:DEPTH])
        rows.append(_row("reformulation", system, scored(queries, alone), baseline, seed))
        label = f"original + {several} fused"
        rows.append(_row(label, system, scored(queries, together), baseline, seed))
    return rows


def scored(queries: Iterable[Query], rankings: Iterable[Sequence[int]]) -> Scores:
    """Every metric of every query's ranking."""
    found: Scores = {name: [] for name in METRICS}
    for query, ranking in zip(queries, rankings, strict=True):
        found["nDCG@10"].append(ndcg(ranking, query.relevant, 10))
        found["recall@100"].append(recall(ranking, query.relevant, 100))
        found["MRR"].append(reciprocal_rank(ranking, query.relevant))
    return found


def _row(
    what: str, system: str | None, scores: Scores, baseline: Scores | None, seed: int
) -> dict[str, Any]:
    row: dict[str, Any] = {"searched_by": what, "system": system}
    for name, values in scores.items():
        row[name] = float(np.mean(values))
        if baseline is not None:
            row[f"{name} p"] = randomisation(values, baseline[name], seed=seed)
    return row
