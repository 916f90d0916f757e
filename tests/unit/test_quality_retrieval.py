"""Combinations of queries and reformulations, by hand on four documents."""

from __future__ import annotations

from collections import Counter

import pytest

from t5eval.collection import Query
from t5eval.quality import combination, feedback
from t5eval.quality.comparison import find_worst_decile
from t5eval.ranking import fuse
from t5eval.retrieval import Index

pytest.importorskip("bm25s")
pytest.importorskip("Stemmer")

DOCUMENTS = ("red apples", "green apples and pears", "pears", "a red car")
QUERY = Query("red", frozenset({0}))


@pytest.fixture(scope="module")
def index() -> Index:
    """The index of the four documents."""
    return Index(DOCUMENTS)


def test_weights_of_rankings_by_hand() -> None:
    """a: 1/61 + 0.1/62, b: 1/62 + 0.1/61; with 3 for the second, b leads."""
    assert fuse(["ab", "ba"], weights=[1, 0.1]) == ["a", "b"]
    assert fuse(["ab", "ba"], weights=[1, 3]) == ["b", "a"]


def test_a_weight_multiplies_the_score_of_a_word(index: Index) -> None:
    """And the scores of words add up."""
    red, pear = index.score({"red": 1}), index.score({"pear": 1})
    assert index.score({"red": 1, "pear": 0.1}) == pytest.approx(red + 0.1 * pear)
    assert index.score({"red": 2}) == pytest.approx(index.score(Counter(["red", "red"])))
    assert index.score({}).tolist() == [0, 0, 0, 0]


def test_a_long_stop_list_leaves_more_words_out() -> None:
    """Only what the caller's list has."""
    assert Index(DOCUMENTS, {"red"}).tokenise("the red pears") == ["the", "pear"]


def test_added_words_leave_the_original_order(index: Index) -> None:
    """The words that only reformulations have count little, and the original's not again."""
    search = combination.COMBINATIONS["new words added at 0.1"]
    assert search(index, QUERY, ["red"]) == index.rank("red") == [0, 3]
    assert search(index, QUERY, ["red pears"]) == [0, 3, 2, 1]
    assert search(index, QUERY, ["a car", "the cars"]) == [3, 0]
    assert search(index, Query("red", frozenset({0}), frozenset({3})), ["car"]) == [0]


def test_added_strings_count_shared_words_again(index: Index) -> None:
    """The score is the original's plus 0.3 x the reformulation's."""
    expected = index.score({"red": 1.3, "pear": 0.3})
    search = combination.COMBINATIONS["whole strings added at 0.3"]
    assert search(index, QUERY, ["red pears"]) == index.rank_scores(expected)


def test_the_best_of_several_by_hand(index: Index) -> None:
    """dis_max: the best score plus 0.3 x the sum of the others, the original's doubled."""
    red, pear = 2 * index.score({"red": 1}), index.score({"pear": 1})
    expected = [max(a, b) + 0.3 * min(a, b) for a, b in zip(red, pear, strict=True)]
    order = sorted(range(4), key=lambda document: -expected[document])
    search = combination.COMBINATIONS["dis_max, boost 2, tie breaker 0.3"]
    assert search(index, QUERY, ["pears"]) == [d for d in order if expected[d] > 0]


def test_fused_rankings_keep_the_original_first(index: Index) -> None:
    """At weight 0.1 a reformulation adds documents behind those of the original."""
    search = combination.COMBINATIONS["rankings fused, weights 1 : 0.1"]
    assert search(index, QUERY, ["pears"])[:2] == [0, 3]
    assert set(search(index, QUERY, ["pears"])) == {0, 1, 2, 3}


def test_feedback_by_hand(index: Index) -> None:
    """Each document found gives its stems tf / length x score; half of the weight is theirs."""
    scores = index.score({"red": 1})
    total = scores[0] + scores[3]
    assert feedback.expand(index, "red") == pytest.approx(
        {
            "red": 0.5 + 0.5 * 0.5,
            "appl": 0.5 * 0.5 * scores[0] / total,
            "car": 0.5 * 0.5 * scores[3] / total,
        }
    )
    assert feedback.expand(index, "unknown") == {"unknown": 0.5}
    assert "car" not in feedback.expand(index, "red", {3})
    assert feedback.expand(index, "the of") == {}


def test_the_worst_tenth_by_hand() -> None:
    """The mean of the lowest two of twenty, and the lowest of a few."""
    assert find_worst_decile([*range(18), -5, -3]) == -4
    assert find_worst_decile([0.5, -0.5, 0.0]) == -0.5
