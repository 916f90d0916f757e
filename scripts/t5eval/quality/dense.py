"""Searches by sentence vectors: what reformulations do for dense retrieval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from t5eval.collection import Collection, Query
from t5eval.messages import Answer
from t5eval.quality.answers import SEVERAL_KEY, SINGLE_KEY, UNGUARDED_KEY, Answers, Plan
from t5eval.quality.cells import Row, describe, format_rows
from t5eval.quality.combination import ALONE, ORIGINAL
from t5eval.quality.comparison import Comparison
from t5eval.quality.verdict import NEGLIGIBLE, Verdict, judge
from t5eval.ranking import fuse
from t5eval.retrieval import DEPTH, find_units
from t5eval.semantics import Embed, Vectors

MOST_DOCUMENTS = 6_000  # of a collection that is embedded; more take too long without a GPU


class VectorIndex:
    """Ranks documents by the cosine of their vectors, all of them, by exact search.

    Args:
        documents: The texts to search.
        texts: All texts that will be searched with.
        embed: The sentence embedder.
    """

    def __init__(self, documents: Sequence[str], texts: Sequence[str], embed: Embed) -> None:
        self._documents = embed(documents)
        distinct = [*dict.fromkeys(texts)]
        self._vectors: Mapping[str, Vectors] = dict(zip(distinct, embed(distinct), strict=True))

    def rank(self, query: Query, weights: Mapping[str, float]) -> list[int]:
        """Returns the documents nearest to the weighted mean of the vectors of texts."""
        vector = np.sum([weight * self._vectors[text] for text, weight in weights.items()], axis=0)
        order = np.argsort(-(self._documents @ vector), kind="stable")
        ranking = (int(document) for document in order[: DEPTH + len(query.excluded)])
        return [document for document in ranking if document not in query.excluded][:DEPTH]


def search_original(index: VectorIndex, query: Query, _: Sequence[str]) -> list[int]:
    """Searches with the query's vector."""
    return index.rank(query, {query.text: 1.0})


def search_first(index: VectorIndex, query: Query, texts: Sequence[str]) -> list[int]:
    """Searches with the vector of the first reformulation alone."""
    return index.rank(query, {texts[0]: 1.0})


def fuse_rankings(
    index: VectorIndex, query: Query, texts: Sequence[str], *, weight: float
) -> list[int]:
    """Fuses the rankings of the query, weight 1, and of its reformulations."""
    rankings = [index.rank(query, {text: 1.0}) for text in (query.text, *texts)]
    return fuse(rankings, weights=[1.0, *[weight] * len(texts)])[:DEPTH]


def average_vectors(
    index: VectorIndex, query: Query, texts: Sequence[str], *, weight: float
) -> list[int]:
    """Searches with the mean of the vectors of the query, weight 1, and its reformulations."""
    return index.rank(query, {**dict.fromkeys(texts, weight), query.text: 1.0})


FUSED = "rankings fused, weights 1 : 1"
DENSE_COMBINATIONS: dict[str, Callable[[VectorIndex, Query, Sequence[str]], list[int]]] = {
    FUSED: partial(fuse_rankings, weight=1.0),
    "rankings fused, weights 1 : 0.3": partial(fuse_rankings, weight=0.3),
    "mean vector, weights 1 : 1": partial(average_vectors, weight=1.0),
    "mean vector, weights 1 : 0.3": partial(average_vectors, weight=0.3),
}
"""What is searched with the query and several reformulations."""


def measure_collection(plan: Plan, collection: Collection, answers: Answers, embed: Embed) -> Row:
    """Returns the rows of one collection, each compared with the original queries' vectors."""
    queries = collection.queries
    nothing = [Answer([query.text]) for query in queries]
    given = {
        (task, variant): answers["retrieval", collection.name, task, variant]
        for task in plan.rewording
        for variant in (SINGLE_KEY, SEVERAL_KEY, UNGUARDED_KEY)
        if variant != UNGUARDED_KEY or task == plan.rewording[0]
    }
    texts = [text for part in (nothing, *given.values()) for item in part for text in item.texts]
    index = VectorIndex(collection.documents, texts, embed)
    comparison = Comparison(queries, plan.seed)
    comparison.add(ORIGINAL, None, partial(search_original, index), nothing)
    for (task, variant), part in given.items():
        if variant == SINGLE_KEY:
            comparison.add(ALONE, task, partial(search_first, index), part)
            continue
        name = f"{task}, no guards" if variant == UNGUARDED_KEY else task
        for combination, combine in DENSE_COMBINATIONS.items():
            comparison.add(combination, name, partial(combine, index), part)
    return {
        "name": collection.name,
        "documents": len(collection.documents),
        "queries": len(queries),
        "units": len(set(find_units(queries))),
        "rows": comparison.rows,
    }


def find_advice(collections: Sequence[Row]) -> Verdict | None:
    """Returns the combination with guards that gains most without harm; None if none gains."""
    verdicts = (
        judge(collections, name, task)
        for task in _tasks(collections)
        for name in DENSE_COMBINATIONS
    )
    harmless = [item for item in verdicts if not item.losses and item.worst >= -NEGLIGIBLE]
    best = max(harmless, key=_gain, default=None)
    return best if best is not None and _gain(best) >= NEGLIGIBLE else None


def summarise(collections: Sequence[Row]) -> list[str]:
    """Returns two sentences: what to search with, and what answers without guards do."""
    task = _tasks(collections)[0]
    advice = find_advice(collections)
    if advice is None:
        usual = judge(collections, FUSED, task)
        what = (
            "Vector search: use the original query alone, since no harmless combination gains a "
            f"tenth of a point. As an example, *{FUSED}* with `{task}`: {describe(usual)}"
        )
    else:
        what = (
            f"Vector search: the best harmless combination is *{advice.combination}, "
            f"`{advice.task}`*: {describe(advice)}"
        )
    unguarded = judge(collections, FUSED, f"{task}, no guards")
    return [what, f"With {FUSED}, `{task}` without guards: {describe(unguarded)}"]


def format_dense(collections: Sequence[Row]) -> str:
    """Returns the sentences that follow from the figures, and a table per collection."""
    tables = (
        f"### Dense: {collection['name']}, {collection['documents']} documents, "
        f"{collection['queries']} queries\n\n{format_rows(collection['rows'])}"
        for collection in collections
    )
    lines = "\n".join(f"- {line}" for line in summarise(collections))
    return "\n\n".join([lines, *tables])


def _gain(verdict: Verdict) -> float:
    return sum(verdict.difference.values())


def _tasks(collections: Sequence[Row]) -> list[str]:
    return [row["task"] for row in collections[0]["rows"] if row["combination"] == ALONE]
