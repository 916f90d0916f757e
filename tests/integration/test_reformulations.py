"""The short version of tests/load/reformulations.py, and that it would find what is wrong."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from load.reformulations import STRATEGIES, check, faults, table
from support import tiny
from t5serve.reformulation.candidates import Reformulation, original_candidate
from t5serve.reformulation.options import Options
from t5serve.reformulation.results import QueryResult

QUERIES = tiny.QUERIES.read_text().splitlines()
QUERY = 'is "the end" by 3 Doors 1,500 words'
EVERYTHING = Options(
    n=2,
    preserve=frozenset({"numbers", "quoted", "capitalised"}),
    min_difference=0.2,
    include_original=True,
)


def result(*texts: str, reason: str | None = None, first: bool = True) -> QueryResult:
    """The original, if it is to come first, and candidates in order."""
    before = [original_candidate(QUERY)] if first else []
    candidates = [
        Reformulation(text, -1.0, -1.0, rank, 3, "model")
        for rank, text in enumerate(texts, len(before) + 1)
    ]
    return QueryResult(QUERY, [*before, *candidates], reason)


def test_every_strategy_over_twenty_queries(embedded: Path) -> None:
    """No empty result, no duplicate, no special token, nothing lost, no fallback without reason."""
    tallies = asyncio.run(check(embedded, QUERIES[:20], workers=2))
    assert [fault for tally in tallies.values() for fault in tally.faults] == []
    assert set(tallies) == set(STRATEGIES)
    assert all(tally.queries == 20 for tally in tallies.values())
    for name, tally in tallies.items():
        assert set(tally.fallbacks) <= {"no_usable_output"}
        if "filtered" not in name:
            # This model repeats itself on two of them, in greedy decoding.
            assert tally.fallbacks.total() <= 2
            assert tally.given >= 18
    assert len(table(tallies).splitlines()) == 2 + len(STRATEGIES)


GOOD = "3 Doors, the end: in 1500 words"
FINE = "words 1500 by which 3 doors: the end of it"


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        (result(first=False), "nothing at all"),
        (result(GOOD, " "), "an empty text"),
        (result(GOOD, "3 doors, the END:  in 1500 words"), "a duplicate"),
        (result(GOOD, QUERY.upper()), "a duplicate"),
        (result(GOOD, FINE, "the end by 3 doors in 1500"), "more than n"),
        (result(f"{GOOD} <extra_id_0>"), "special tokens"),
        (result(f"{GOOD}</s>"), "special tokens"),
        (result(GOOD, first=False), "the original"),
        (result(), "no answer, and no reason"),
        (result(GOOD, reason="queue_full"), "a reason beside an answer"),
        (result("is the end by 3 Doors 1,500 words"), "too little difference"),
        (result(GOOD, "3 Doors, the end: in 1500 songs"), "too little difference"),
        (result("Doors the end in 1,500 words"), "lost numbers"),
        (result("3 Doors the end in 1 500 words"), "lost numbers"),
        (result("3 Doors in 1500 words the very end"), "lost quoted"),
        (result("the end of 3 windows in 1500 words"), "lost capitalised"),
    ],
)
def test_a_fault_is_found(found: QueryResult, fault: str) -> None:
    """What the contract forbids does not pass."""
    assert fault in faults(QUERY, EVERYTHING, found)


def test_what_is_good_passes() -> None:
    """No false alarm on reformulations that keep everything, nor on a fallback."""
    assert faults(QUERY, EVERYTHING, result(GOOD, FINE)) == []
    assert faults(QUERY, EVERYTHING, result(reason="no_usable_output")) == []
    plain = replace(EVERYTHING, include_original=False)
    assert faults(QUERY, plain, result(GOOD, first=False)) == []
    assert faults(QUERY, plain, result(reason="no_usable_output")) == []


def test_wrong_ranks_and_scores_are_found() -> None:
    """Ranks have no gap, and a candidate's score is the logarithm of a probability."""
    good = result(GOOD).reformulations
    for change, fault in (
        ({"rank": 3}, "ranks"),
        ({"score": 0.5}, "a score"),
        ({"score": None}, "a score"),
        ({"score": float("-inf")}, "a score"),
    ):
        changed = [good[0], replace(good[1], **change)]
        assert fault in faults(QUERY, EVERYTHING, QueryResult(QUERY, changed))
