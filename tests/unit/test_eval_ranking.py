"""Figures of rankings, by hand; and a small collection through bm25s, against BM25 written out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest

from t5eval import retrieval
from t5eval.collection import Collection, Query
from t5eval.messages import Answer
from t5eval.ranking import fuse, ndcg, recall, reciprocal_rank
from t5eval.significance import randomisation_p_value

TEXTS = (
    "red apples and green apples",
    "green pears",
    "a red car",
    "cars, trucks; and a red bicycle",
    "the cooking of pears",
    "nothing of the kind",
)
PLAIN = (
    "red appl green appl",
    "green pear",
    "red car",
    "car truck red bicycl",
    "cook pear",
    "noth kind",
)
"""What is left of them: stems as Porter's second stemmer has them, stop words away."""


def test_ndcg_by_hand() -> None:
    """Relevant at ranks 2 and 4, of three."""
    gain = 1 / math.log2(3) + 1 / math.log2(5)
    ideal = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert ndcg("abcd", {"b", "d", "z"}, 10) == pytest.approx(gain / ideal)
    assert ndcg("abcd", {"b", "d", "z"}, 3) == pytest.approx(1 / math.log2(3) / ideal)
    assert ndcg("abcd", {"a", "b", "c"}, 2) == 1
    assert ndcg("", {"a"}, 10) == 0


def test_recall_and_reciprocal_rank_by_hand() -> None:
    """Depth counts, order within it does not."""
    assert recall("abcd", {"b", "d", "z"}, 4) == pytest.approx(2 / 3)
    assert recall("abcd", {"b", "d", "z"}, 3) == pytest.approx(1 / 3)
    assert reciprocal_rank("abcd", {"c", "d"}) == pytest.approx(1 / 3)
    assert reciprocal_rank("abcd", {"z"}) == 0


def test_fusion_by_hand() -> None:
    """b: 1/62 + 1/61, a: 1/61, c: 1/62, d: 1/63; of equal ones the first ranking's is first."""
    assert fuse(["ab", "bcd"]) == ["b", "a", "c", "d"]
    assert fuse(["ab", "ba"]) == ["a", "b"]
    assert fuse(["xa", "yb"]) == ["x", "y", "a", "b"]
    assert fuse(["abc"]) == list("abc")


def test_a_small_k_trusts_first_places() -> None:
    """With k = 0, one first index outweighs two third ones."""
    assert fuse(["abx", "cdx"], k=0) == ["a", "c", "x", "b", "d"]


def test_randomisation_comes_near_all_exchanges() -> None:
    """The share of the 2^8 sign patterns that differ at least as much, which can be counted."""
    scores = [0.5, 0.4, 0.9, 0.3, 0.8, 0.2, 0.6, 0.7, 0.1]
    baseline = [0.3, 0.5, 0.4, 0.2, 0.5, 0.2, 0.3, 0.6, 0.3]
    differences = [a - b for a, b in zip(scores, baseline, strict=True)]
    sums = [
        abs(sum(sign * d for sign, d in zip(signs, differences, strict=True)))
        for signs in product((1, -1), repeat=len(differences))
    ]
    exact = np.mean([value >= abs(sum(differences)) - 1e-9 for value in sums])
    assert randomisation_p_value(scores, baseline, seed=1) == pytest.approx(exact, abs=0.015)
    assert randomisation_p_value(scores, baseline, seed=1) == randomisation_p_value(
        baseline, scores, seed=1
    )


def test_no_difference_is_no_evidence() -> None:
    """Equal figures have p = 1, and the clearest difference at most the least p."""
    assert randomisation_p_value([0.5] * 9, [0.5] * 9, seed=0) == 1
    assert randomisation_p_value([1.0] * 99, [0.0] * 99, seed=0, rounds=999) == pytest.approx(0.001)


def test_metrics_need_no_package() -> None:
    """A query with its ranking each."""
    queries = [Query("", frozenset({1})), Query("", frozenset({0, 2}))]
    scores = retrieval.score_rankings(queries, [[0, 1], [2, 1]])
    assert scores["MRR"] == [0.5, 1.0]
    assert scores["recall@100"] == [1.0, 0.5]
    assert scores["nDCG@10"] == pytest.approx([1 / math.log2(3), 1 / (1 + 1 / math.log2(3))])


def brute_force(query: str, documents: Sequence[str]) -> list[float]:
    """Lucene's BM25 as its formula stands, k1 = 1.5 and b = 0.75; a word said twice counts twice.

    The sum over the words of ln(1 + (N - n + 0.5) / (n + 0.5)) f / (f + k1 (1 - b + b d / mean d)).
    """
    split = [document.split() for document in documents]
    mean = sum(map(len, split)) / len(split)
    scores = []
    for words in split:
        score, counts = 0.0, Counter(words)
        for word in query.split():
            holding = sum(word in document for document in split)
            idf = math.log(1 + (len(split) - holding + 0.5) / (holding + 0.5))
            saturation = 1.5 * (0.25 + 0.75 * len(words) / mean)
            score += idf * counts[word] / (counts[word] + saturation)
        scores.append(score)
    return scores


def ranked(query: str, excluded: frozenset[int] = frozenset()) -> list[int]:
    """Returns the indices of the documents with a score, best first."""
    scores = brute_force(query, PLAIN)
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    return [index for index in order if scores[index] > 0 and index not in excluded]


@pytest.mark.parametrize(
    ("query", "plain"),
    [
        ("Red apple", "red appl"),
        ("the red CARS", "red car"),
        ("pears, red pears", "pear red pear"),
        ("a green bicycle and its cook", "green bicycl it cook"),
        ("unknown words", "unknown word"),
        ("of the", ""),
    ],
)
def test_the_index_is_bm25(query: str, plain: str) -> None:
    """Documents in the order of the formula."""
    pytest.importorskip("bm25s")
    pytest.importorskip("Stemmer")
    index = retrieval.Index(TEXTS)
    assert index.tokenise(query) == plain.split()
    assert [index.tokenise(text) for text in TEXTS] == [text.split() for text in PLAIN]
    assert index.rank(query) == ranked(plain)
    if plain:
        index_scores = index._bm25.get_scores(plain.split())
        assert index_scores == pytest.approx(brute_force(plain, PLAIN), rel=1e-5)


def test_figures_of_a_collection() -> None:
    """What the tables say is what formulas and hands make of the same queries."""
    pytest.importorskip("bm25s")
    pytest.importorskip("Stemmer")
    queries = [
        Query("red apple", frozenset({3}), excluded=frozenset({0})),
        Query("fruit", frozenset({1})),
    ]
    answers = (
        [Answer(["red truck"]), Answer(["fruit"], fell_back=True)],
        [Answer(["red truck", "bicycle"]), Answer(["green pears", "pears"])],
    )
    collection = Collection("small", list(TEXTS), queries)
    original, alone, together = retrieval.score_systems(
        collection, {"model": answers}, several=2, seed=0
    )
    # Without the first document, 2 stands before 3 for "red", as it is shorter.
    assert ranked("red appl", frozenset({0})) == [2, 3]
    assert original["MRR"] == pytest.approx((1 / 2 + 0) / 2)
    assert original["nDCG@10"] == pytest.approx((1 / math.log2(3) + 0) / 2)
    assert original["recall@100"] == 0.5
    # "truck" stands in 3 alone; the second query is asked as it is.
    assert ranked("red truck", frozenset({0}))[0] == 3
    assert alone["MRR"] == pytest.approx((1 + 0) / 2)
    # 3: 1/62 + 1/61 + 1/61, 2: 1/61 + 1/62; and "green pears" finds 1 first.
    assert together["MRR"] == 1
    assert together["searched_by"] == "original + 2 fused"
    assert together["MRR p"] == pytest.approx(0.5, abs=0.02)  # of four exchanges, two are as good
