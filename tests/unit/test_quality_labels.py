"""What readers said of answers."""

from __future__ import annotations

from collections import Counter

import pytest

from t5eval.messages import Answer
from t5eval.quality import labels

LABELS = {
    ("ask", "how far is mars", "mars distance"): ("good", "good"),
    ("ask", "how far is mars", "how far is venus"): ("harmful", "poor"),
}


def test_labels_count_half_for_each_reader() -> None:
    """Queries that were left alone have no answers to judge; answers nobody read count apart."""
    answers = [
        Answer(["mars distance", "how far is venus", "mars"]),
        Answer(["best phone"], unchanged_reason="guard"),
        Answer(["10 shoes"], fell_back=True),
    ]
    queries = ["how far is mars", "best phone", "10 shoes"]
    result = labels.judge_task("ask", queries, answers, LABELS)
    assert result["labels"] == {"good": 1.0, "poor": 0.5, "harmful": 0.5}
    assert (result["changed"], result["usable"], result["unread"], result["answers"]) == (
        1,
        1,
        1,
        2,
    )
    assert result["harmful"] == ["how far is mars -> how far is venus"]


def test_scores_by_hand() -> None:
    """Good over others in one of two pairs, and half for a tie; an unread answer counts nowhere."""
    pairs = {
        ("mars", "mars distance"): ("good", "good"),
        ("mars", "mars far"): ("good", "poor"),
        ("venus", "venus men"): ("harmful", "good"),
    }
    answers = [
        Answer(["mars distance", "mars far", "unread"], scores=[-0.5, -0.5, -0.1]),
        Answer(["venus men"], scores=[-0.9]),
        Answer(["pluto"], unchanged_reason="guard", scores=[None]),
    ]
    figures = labels.judge_scores(-0.8, ["mars", "venus", "pluto"], answers, pairs)
    assert figures == {"answers": 3, "auc": 0.75, "dropped": {"good": 0.0, "harmful": 1.0}}


def test_harmful_labels_of_all_answers() -> None:
    """One of four labels."""
    assert labels.count_harmful(LABELS) == {"ask": (2, 0.25)}


def test_kappa_by_hand() -> None:
    """Three of four agree; chance alone gives (2 x 3 + 2 x 1) / 16 = 1/2, so kappa is 1/2."""
    pairs = [("good", "good"), ("good", "good"), ("poor", "poor"), ("poor", "good")]
    assert labels.agreement(pairs) == pytest.approx((0.75, 0.5))


def test_the_stored_labels_are_of_the_stored_queries() -> None:
    """300 queries of seven kinds, each once; three labels, two for every answer."""
    domains = labels.read_domains()
    queries = [query for part in domains.values() for query in part]
    assert len(domains) == 7
    assert len(queries) == len(set(queries)) == 300
    stored = labels.read_labels()
    assert {query for _, query, _ in stored} <= set(queries)
    said = Counter(label for pair in stored.values() for label in pair)
    assert set(said) == {"good", "poor", "harmful"}
