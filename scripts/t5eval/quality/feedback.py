"""Expands queries from the documents that they find: RM3, which needs no model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set as AbstractSet

from t5eval.retrieval import Index

DOCUMENTS = 10
TERMS = 10
ORIGINAL_WEIGHT = 0.5


def expand(index: Index, text: str, excluded: AbstractSet[int] = frozenset()) -> dict[str, float]:
    """Returns the weights of a query's stems after RM3.

    P(w | R) is proportional to the sum over the first documents of P(w | d) x score(d), with
    P(w | d) = tf / length. The likeliest terms are interpolated with the query's own:
    0.5 x P(w | Q) + 0.5 x P(w | R). Sources: Lavrenko and Croft, "Relevance-Based Language
    Models", SIGIR 2001; Abdul-Jaleel et al., "UMass at TREC 2004: Novelty and HARD". Ten
    documents, ten terms and 0.5 are Anserini's defaults.
    """
    stems = index.tokenise(text)
    query = Counter(stems)
    scores = index.score(query)
    feedback: Counter[str] = Counter()
    for document in index.rank_scores(scores, excluded)[:DOCUMENTS]:
        tokens = index.documents[document]
        for stem, count in Counter(tokens).items():
            feedback[stem] += count / len(tokens) * scores[document]
    best = dict(feedback.most_common(TERMS))
    total = sum(best.values())
    weights = {stem: ORIGINAL_WEIGHT * count / len(stems) for stem, count in query.items()}
    for stem, weight in best.items():
        weights[stem] = weights.get(stem, 0.0) + (1 - ORIGINAL_WEIGHT) * weight / total
    return weights
