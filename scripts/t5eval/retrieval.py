"""Measures whether reformulations help BM25 to find relevant documents of a collection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection as AbstractCollection
from collections.abc import Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from t5eval.collection import Collection, Query
from t5eval.messages import Answer
from t5eval.ranking import fuse, ndcg, recall, reciprocal_rank
from t5eval.significance import randomisation_p_value
from t5serve.reformulation.text import plain_words

K1, B = 1.5, 0.75
DEPTH = 1000  # documents of every ranking, before and after fusion
METRICS = ("nDCG@10", "recall@100", "MRR")

Figures = dict[str, list[float]]
"""By metric, the figure of each query."""
Scores = npt.NDArray[np.float64]
"""The score of each document."""


class Index:
    """A BM25 index (bm25s, Lucene's variant) of folded, stemmed words without stop words.

    Args:
        documents: The texts to search.
        stop_words: Folded words that are not indexed; None: Lucene's 33 English ones.

    Attributes:
        documents: The stems of each document.
    """

    def __init__(
        self, documents: Sequence[str], stop_words: AbstractCollection[str] | None = None
    ) -> None:
        import bm25s  # noqa: PLC0415 - of the extra
        import Stemmer  # noqa: PLC0415 - of the extra
        from bm25s.stopwords import STOPWORDS_EN  # noqa: PLC0415

        self._stem: Any = Stemmer.Stemmer("english").stemWords
        self._stop_words = frozenset(STOPWORDS_EN if stop_words is None else stop_words)
        self._bm25: Any = bm25s.BM25(method="lucene", k1=K1, b=B)
        self.documents = [self.tokenise(document) for document in documents]
        self._bm25.index(self.documents, show_progress=False)

    def tokenise(self, text: str) -> list[str]:
        """Returns the stems of a text's words, without stop words."""
        content = [word for word in plain_words(text) if word not in self._stop_words]
        stems: list[str] = self._stem(content)
        return stems

    def rank(self, text: str, excluded: AbstractSet[int] = frozenset()) -> list[int]:
        """Returns the documents that share a token with a text, best first.

        Documents with equal scores keep their order.
        """
        return self.rank_scores(self.score(dict(Counter(self.tokenise(text)))), excluded)

    def score(self, weights: Mapping[str, float]) -> Scores:
        """Returns the score of each document for weighted stems: the sum of weight x BM25."""
        stems: dict[float, list[str]] = {}
        for stem, weight in weights.items():
            stems.setdefault(weight, []).append(stem)
        scores = np.zeros(len(self.documents))
        for weight, group in stems.items():
            scores += weight * self._bm25.get_scores(group)
        return scores

    def rank_scores(self, scores: Scores, excluded: AbstractSet[int] = frozenset()) -> list[int]:
        """Returns the documents with a score over 0, best first, ties in their order."""
        order = np.argsort(-scores, kind="stable")[: DEPTH + len(excluded)]
        matches = (int(document) for document in order if scores[document] > 0)
        return [document for document in matches if document not in excluded][:DEPTH]


def score_systems(
    collection: Collection,
    answers: Mapping[str, tuple[Sequence[Answer], Sequence[Answer]]],
    *,
    several: int,
    seed: int,
    stop_words: AbstractCollection[str] | None = None,
) -> list[dict[str, Any]]:
    """Returns a row for the original queries, and two for each system, with means and p-values.

    Args:
        collection: The documents to search, and the queries.
        answers: By system, two answers to each query: one reformulation, and several to fuse
            with the query.
        several: How many reformulations were requested for fusion; there may be fewer.
        seed: The seed of the significance test against the original queries.
        stop_words: Words that are not indexed; None: a short list.
    """
    index = Index(collection.documents, stop_words)
    units = find_units(collection.queries)
    queries = collection.queries
    originals = [index.rank(query.text, query.excluded) for query in queries]
    baseline = score_rankings(queries, originals)
    rows = [_make_row("original", None, baseline, None, seed, units)]
    for system, (single, several_answers) in answers.items():
        bar = tqdm(queries, desc=f"{collection.name}, {system}", unit="query", disable=None)
        alone, fused = [], []
        for query, original, answer, to_fuse in zip(
            bar, originals, single, several_answers, strict=True
        ):
            alone.append(index.rank(answer.texts[0], query.excluded))
            # After a fallback the only text is the query itself, which would change nothing.
            texts = [] if to_fuse.fell_back else to_fuse.texts
            rankings = [original, *(index.rank(text, query.excluded) for text in texts)]
            fused.append(fuse(rankings)[:DEPTH])
        for label, rankings in (("reformulation", alone), (f"original + {several} fused", fused)):
            scores = score_rankings(queries, rankings)
            rows.append(_make_row(label, system, scores, baseline, seed, units))
    return rows


def score_rankings(queries: Iterable[Query], rankings: Iterable[Sequence[int]]) -> Figures:
    """Returns every metric of every query's ranking."""
    scores: Figures = {name: [] for name in METRICS}
    for query, ranking in zip(queries, rankings, strict=True):
        scores["nDCG@10"].append(ndcg(ranking, query.relevant, 10))
        scores["recall@100"].append(recall(ranking, query.relevant, 100))
        scores["MRR"].append(reciprocal_rank(ranking, query.relevant))
    return scores


def find_units(queries: Iterable[Query]) -> list[Hashable]:
    """Returns each query's unit for tests of significance: its thread, or the query alone."""
    return [
        ("query", number) if query.thread is None else ("thread", query.thread)
        for number, query in enumerate(queries)
    ]


def _make_row(
    searched_by: str,
    system: str | None,
    scores: Figures,
    baseline: Figures | None,
    seed: int,
    units: Sequence[Hashable],
) -> dict[str, Any]:
    row: dict[str, Any] = {"searched_by": searched_by, "system": system}
    for name, values in scores.items():
        row[name] = float(np.mean(values))
        if baseline is not None:
            row[f"{name} p"] = randomisation_p_value(values, baseline[name], seed=seed, units=units)
    return row
