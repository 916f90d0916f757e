"""Which of the decoded sequences become reformulations."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t5engine.messages import Output
from t5serve.reformulation.candidates import Reformulation, original_candidate, select_candidates
from t5serve.reformulation.options import Options
from t5serve.reformulation.preserve import CONSTRAINT_TYPES, ConstraintType, preserves
from t5serve.reformulation.text import clean, difference, fold, has_loop, words

NUMBERS: frozenset[ConstraintType] = frozenset({"numbers"})
TEXTS = st.lists(
    st.sampled_from(["how", "How", "to", "cook", "rice", "5", "five", '"big"', "Rome", " ", "?"]),
    max_size=6,
).map(" ".join)


def outputs(*texts: str) -> list[Output]:
    """Sequences, the first the best: of 4 tokens with `</s>`, one nat less likely each."""
    return [
        Output(
            text=text,
            tokens=[5, 6, 7],
            logprob=-2.0 - 4 * place,
            decoded=4,
            score=-place,
            finish_reason="stop",
        )
        for place, text in enumerate(texts)
    ]


def chosen(query: str, texts: Sequence[str], options: Options) -> list[str]:
    return [one.text for one in select_candidates(query, outputs(*texts), options)]


def test_best_first_with_scores_and_ranks() -> None:
    """The first n come cleaned, with ranks from 1 and scores per decoded token."""
    found = select_candidates("q", outputs(" one ", "two\n two", "three"), Options(n=2))
    assert found == [
        Reformulation("one", -0.5, 1, 3, "model"),
        Reformulation("two two", -1.5, 2, 3, "model"),
    ]


def test_nothing_comes_of_nothing() -> None:
    """No outputs, or none with text, are no reformulations."""
    assert select_candidates("q", [], Options(n=3)) == []
    assert chosen("q", ["", "  ", "\n\t"], Options(n=3)) == []


def test_the_same_after_folding_counts_once() -> None:
    """Case, width and spaces make no second reformulation; the better one stays as it is."""
    texts = ["Find it", "find  it", "\ufb01nd it", "\uff46ind IT", "find that"]
    assert chosen("q", texts, Options(n=4)) == ["Find it", "find that"]


def test_signs_make_another_text() -> None:
    """C and C++ are different searches."""
    assert chosen("q", ["c", "c++", "c#"], Options(n=4)) == ["c", "c++", "c#"]


@pytest.mark.parametrize(
    ("texts", "n", "expected"),
    [
        (["a query", "other"], 1, ["a query"]),
        (["A  Query", "other"], 1, ["A Query"]),
        (["other", "a query"], 1, ["other"]),
        (["", "a query", "other"], 1, ["other"]),
        (["", "a query"], 1, ["a query"]),
        (["a query", "other"], 2, ["other"]),
        (["a query", "A query", "one", "two"], 2, ["one", "two"]),
        (["a query", "A QUERY"], 2, ["a query"]),
        (["a query"], 2, ["a query"]),
    ],
)
def test_the_query_itself(texts: list[str], n: int, expected: list[str]) -> None:
    """It is the answer if it is all there is, or the one answer that the model likes best."""
    assert chosen("a query", texts, Options(n=n)) == expected


@pytest.mark.parametrize(
    "options",
    [
        Options(include_original=True),
        Options(min_difference=0.01),
        Options(n=3, include_original=True),
        Options(n=3, min_difference=0.01),
    ],
)
def test_the_query_itself_is_not_enough(options: Options) -> None:
    """Beside the original, or where a difference was asked for, it is no reformulation."""
    found = select_candidates("a query", outputs("A query", "a  query"), options)
    assert all(one.source == "original" for one in found)


def test_the_query_itself_keeps_everything() -> None:
    """Asked to lose nothing, a model may give the query back."""
    options = Options(preserve=frozenset(CONSTRAINT_TYPES))
    assert chosen('is "it" 5 Miles', ['is "it" 5 Miles'], options) == ['is "it" 5 Miles']


def test_include_original() -> None:
    """The original comes first, as it was typed, and is not one of the n."""
    found = select_candidates(
        "A  query", outputs("a query", "one", "two", "three"), Options(n=2, include_original=True)
    )
    assert (
        found[0]
        == original_candidate("A  query")
        == Reformulation("A  query", None, 1, 0, "original")
    )
    assert [(one.text, one.rank, one.source) for one in found[1:]] == [
        ("one", 2, "model"),
        ("two", 3, "model"),
    ]
    assert select_candidates("q", [], Options(include_original=True)) == [original_candidate("q")]


@pytest.mark.parametrize(
    ("least", "expected"),
    [
        (0.0, ["how to boil rice", "how to boil the rice", "rice recipes"]),
        (0.25, ["how to boil rice", "rice recipes"]),
        (0.26, ["how to boil the rice", "rice recipes"]),
        (0.5, ["rice recipes"]),
        (1.0, ["rice recipes"]),
    ],
)
def test_min_difference(least: float, expected: list[str]) -> None:
    """Nothing is closer than this to the query or to what was taken; as close as this may be."""
    texts = ["how to boil rice", "how to boil the rice", "rice recipes"]
    options = Options(n=3, min_difference=least)
    assert chosen("how to cook rice", texts, options) == expected


def test_what_loses_something_makes_way_for_the_next_best() -> None:
    """The n are filled up from further down, in order."""
    texts = ["ten miles", "10 miles far", "100 miles", "how far are 10 miles", "10 miles away"]
    found = select_candidates("10 miles", outputs(*texts), Options(n=2, preserve=NUMBERS))
    assert [(one.text, one.rank) for one in found] == [
        ("10 miles far", 1),
        ("how far are 10 miles", 2),
    ]
    assert found[1].score == pytest.approx(-14 / 4)
    assert chosen("10 miles", ["ten miles"], Options(preserve=NUMBERS)) == []


@pytest.mark.parametrize(
    "text", ["<extra_id_0>", "how <extra_id_17> to", "the the the", "buy a car buy a car"]
)
def test_sentinels_and_loops_are_no_reformulations(text: str) -> None:
    """They make way for the next best, or leave nothing."""
    assert chosen("q", [text, "good"], Options()) == ["good"]
    assert chosen("q", [text], Options()) == []


def test_a_query_that_repeats_itself_may_be_answered_likewise() -> None:
    """Who searches for a chorus gets it."""
    assert chosen("ha ha ha song", ["ha ha ha lyrics"], Options()) == ["ha ha ha lyrics"]


def test_texts_without_words() -> None:
    """Signs alone are a query, and can be an answer."""
    assert chosen("c++", ["?", "!"], Options(n=2)) == ["?", "!"]
    assert chosen("?!", ["what"], Options(min_difference=0.5)) == ["what"]


@settings(deadline=None)
@given(
    query=TEXTS.filter(str.strip),
    texts=st.lists(TEXTS, max_size=10),
    options=st.builds(
        Options,
        n=st.integers(1, 6),
        include_original=st.booleans(),
        preserve=st.frozensets(st.sampled_from(sorted(CONSTRAINT_TYPES))),
        min_difference=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
    ),
)
def test_what_always_holds(query: str, texts: list[str], options: Options) -> None:
    """Of any outputs: n at most, in order, none empty or twice, none that lost what was asked."""
    found = select_candidates(query, outputs(*texts), options)
    ours = [one for one in found if one.source == "model"]
    assert found[: len(found) - len(ours)] == [original_candidate(query)] * options.include_original
    assert len(ours) <= options.n
    assert [one.rank for one in found] == list(range(1, len(found) + 1))
    assert all(one.text and one.text == clean(one.text) for one in ours)
    assert len({fold(one.text) for one in found}) == len(found)
    assert all(preserves(query, one.text, options.preserve) for one in ours)
    scores = [one.score for one in ours if one.score is not None]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == len(ours)
    for one, other in combinations([query, *(one.text for one in ours)], 2):
        assert difference(words(one), words(other)) >= options.min_difference
    if not options.can_drop and any(text.strip() and not has_loop(words(text)) for text in texts):
        assert ours


def test_many_long_texts_are_chosen_among_in_no_time() -> None:
    """It happens in the event loop, which as many texts as there can be must not stop."""
    chance = random.Random(1)
    vocabulary = [f"word{number}" for number in range(1000)]
    query, *texts = (" ".join(chance.choices(vocabulary, k=k)) for k in [500] + [120] * 20)
    started = time.process_time()
    assert len(chosen(query, texts, Options(n=16))) == 16
    assert time.process_time() - started < 0.25


def test_many_loops_are_dropped_in_no_time() -> None:
    """Likewise, with a query as long as there can be that does not repeat itself."""
    query = " ".join(str(number) for number in range(250))
    started = time.process_time()
    assert chosen(query, ["round " * 60] * 20, Options(n=16)) == []
    assert time.process_time() - started < 0.25
