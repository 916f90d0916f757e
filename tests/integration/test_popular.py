"""The short version of tests/load/popular.py."""

from __future__ import annotations

import pytest

from load.popular import Outcome, distinct_queries, draw, measure

REQUESTS, DISTINCT = 120, 30


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    """A short load, greedy to be quick."""
    return measure(REQUESTS, DISTINCT, 4, uncached=20, hits=20, strategy="greedy", preserve=[])


def test_every_query_is_decoded_once(outcome: Outcome) -> None:
    """Whatever comes at once, a query is a miss the first time, and never again."""
    asked = {query for query, _, _ in outcome.cached.answers}
    assert len(outcome.cached.answers) == REQUESTS
    decoded = [query for query, _, cached in outcome.cached.answers if not cached]
    assert sorted(decoded) == sorted(asked)
    assert outcome.metrics['t5serve_cache_lookups_total{model="tiny-t5",outcome="miss"}'] >= len(
        asked
    )


def test_the_cache_changes_no_answer(outcome: Outcome) -> None:
    """Each query has one answer, the same as with `cache: false`."""
    answers = {(query, tuple(queries)) for query, queries, _ in outcome.cached.answers}
    assert len(answers) == len({query for query, _ in answers})
    assert {(query, tuple(queries)) for query, queries, _ in outcome.decoded.answers} <= answers
    assert not any(cached for _, _, cached in outcome.decoded.answers)


def test_hits_are_found_in_the_log(outcome: Outcome) -> None:
    """Every request for a known result has its line, which says that nothing was decoded."""
    assert len(outcome.hits.own) == 20


def test_the_load_is_zipf_s() -> None:
    """The first query comes about as often as 1 over the harmonic number says."""
    queries = distinct_queries(1000)
    assert len(set(queries)) == 1000
    drawn = draw(queries, 5000)
    assert drawn.count(queries[0]) == pytest.approx(5000 / 7.485, rel=0.15)
    assert drawn.count(queries[0]) > drawn.count(queries[9]) > drawn.count(queries[99])
