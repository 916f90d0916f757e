"""The selection of decoded sequences as reformulations."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from itertools import combinations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t5engine.messages import Output
from t5gguf.tasks import Preserved
from t5serve.reformulation.candidates import (
    Reformulation,
    Selection,
    original_candidate,
    select_candidates,
)
from t5serve.reformulation.guards.guards import PRESERVED, Guards
from t5serve.reformulation.lexicon import Lexicon
from t5serve.reformulation.options import Options
from t5serve.reformulation.text import clean, difference, fold, has_loop, words

NUMBERS: frozenset[Preserved] = frozenset({"numbers"})
TEXTS = st.lists(
    st.sampled_from(["how", "How", "to", "cook", "rice", "5", "five", '"big"', "Rome", " ", "?"]),
    max_size=6,
).map(" ".join)


def outputs(*texts: str) -> list[Output]:
    """Returns outputs of 4 tokens with `</s>`, each one nat less likely than the one before."""
    return [
        Output(
            text=text,
            tokens=[5, 6, 7],
            logprob=-2.0 - 4 * index,
            decoded=4,
            score=-index,
            finish_reason="stop",
        )
        for index, text in enumerate(texts)
    ]


def select(query: str, texts: Sequence[str], options: Options) -> list[Reformulation]:
    return select_candidates(query, outputs(*texts), options).reformulations


def select_texts(query: str, texts: Sequence[str], options: Options) -> list[str]:
    return [result.text for result in select(query, texts, options)]


def test_best_first_with_scores_and_ranks() -> None:
    """The first n outputs are returned, cleaned, with ranks from 1 and scores per decoded token."""
    results = select("q", [" one ", "two\n two", "three"], Options(n=2))
    assert results == [
        Reformulation("one", -0.5, -0.5, 1, 3, "model"),
        Reformulation("two two", -1.5, -1.5, 2, 3, "model"),
    ]


def test_nothing_comes_of_nothing() -> None:
    """Without outputs, or with blank outputs only, there are no reformulations."""
    assert select("q", [], Options(n=3)) == []
    assert select_texts("q", ["", "  ", "\n\t"], Options(n=3)) == []


def test_the_same_after_folding_counts_once() -> None:
    """Texts that differ in case, width or spaces count once; the better text is kept unchanged."""
    texts = ["Find it", "find  it", "\ufb01nd it", "\uff46ind IT", "find that"]
    assert select_texts("q", texts, Options(n=4)) == ["Find it", "find that"]


def test_punctuation_makes_no_other_text() -> None:
    """Texts that differ from the query or each other in sentence punctuation only count once."""
    texts = ["What is x?", "what does x mean", "what does x mean?", "c++", "c++!"]
    expected = ["what does x mean", "c++"]
    assert select_texts("what is x", texts, Options(n=4)) == expected
    echo = select_candidates("what is x", outputs("What is x?", "other"), Options())
    assert echo.unchanged_reason == "already_good"
    assert [one.text for one in echo.reformulations] == ["what is x"]  # as it was typed


def test_punctuation_may_be_the_correction() -> None:
    """A task that corrects returns a candidate that adds a question mark."""
    options = Options(corrects=True, preserve=frozenset())
    selection = select_candidates("what is x", outputs("what is x?", "what is x"), options)
    assert [one.text for one in selection.reformulations] == ["what is x?"]
    assert selection.unchanged_reason is None


def test_signs_make_another_text() -> None:
    """C and C++ are different searches."""
    assert select_texts("q", ["c", "c++", "c#"], Options(n=4)) == ["c", "c++", "c#"]


@pytest.mark.parametrize(
    ("texts", "n", "expected"),
    [
        (["a query", "other"], 1, ["a query"]),
        (["A  Query", "other"], 1, ["a query"]),
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
    """The query is returned if nothing else is, or if n is 1 and it is the best output."""
    assert select_texts("a query", texts, Options(n=n)) == expected


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
    """The query is no reformulation beside the original, or if a difference is required."""
    results = select("a query", ["A query", "a  query"], options)
    assert results == []


def test_the_query_itself_keeps_everything() -> None:
    """The query satisfies all of its own constraints."""
    options = Options(preserve=frozenset(PRESERVED))
    assert select_texts('is "it" 5 Miles', ['is "it" 5 Miles'], options) == ['is "it" 5 Miles']


def test_include_original() -> None:
    """The original comes first, unchanged, and does not count as one of the n."""
    results = select(
        "A  query", ["a query", "one", "two", "three"], Options(n=2, include_original=True)
    )
    assert (
        results[0]
        == original_candidate("A  query")
        == Reformulation("A  query", None, None, 1, 0, "original")
    )
    assert [(result.text, result.rank, result.source) for result in results[1:]] == [
        ("one", 2, "model"),
        ("two", 3, "model"),
    ]
    assert select("q", [], Options(include_original=True)) == []


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
    """No text is closer than the minimum to the query or to a better text; equality is allowed."""
    texts = ["how to boil rice", "how to boil the rice", "rice recipes"]
    options = Options(n=3, min_difference=least)
    assert select_texts("how to cook rice", texts, options) == expected


def test_what_loses_something_makes_way_for_the_next_best() -> None:
    """The next best outputs replace outputs that violate a constraint, in order."""
    texts = ["ten miles", "10 miles far", "100 miles", "how far are 10 miles", "10 miles away"]
    results = select("10 miles", texts, Options(n=2, preserve=NUMBERS))
    assert [(result.text, result.rank) for result in results] == [
        ("10 miles far", 1),
        ("how far are 10 miles", 2),
    ]
    assert results[1].score == pytest.approx(-14 / 4)


def test_an_answer_that_no_guard_lets_through_is_the_query() -> None:
    """The query comes back with the reason, and not as a failure."""
    unchanged = Selection([original_candidate("10 miles")], "guard")
    options = Options(preserve=NUMBERS)
    assert select_candidates("10 miles", outputs("ten miles"), options) == unchanged
    assert select_candidates("10 miles", outputs("100 miles", "9 or 10"), options) == unchanged
    echo = select_candidates("10 miles", outputs("ten miles", "10 miles"), options)
    assert (echo.reformulations[0].text, echo.unchanged_reason) == ("10 miles", "guard")


def test_candidates_below_the_least_score_are_dropped() -> None:
    """The mean log-probability of a token counts."""
    options = Options(n=3, min_score=-1.5)
    assert select_texts("q", ["one", "two", "three"], options) == ["one", "two"]


@pytest.mark.parametrize(
    ("texts", "n", "expected", "reason"),
    [
        (["a query", "a quarry"], 1, ["a query"], "already_good"),
        (["a query", "a quarry"], 4, ["a query"], "already_good"),
        (["a queue", "a query", "a quarry"], 4, ["a queue"], None),
        (["a queue", "a quarry"], 4, ["a queue", "a quarry"], None),
    ],
)
def test_a_correction_is_never_worse_than_the_query(
    texts: list[str], n: int, expected: list[str], reason: str | None
) -> None:
    """A task that corrects drops what the model finds less likely than the query itself."""
    selection = select_candidates("a query", outputs(*texts), Options(n=n, corrects=True))
    assert [result.text for result in selection.reformulations] == expected
    assert selection.unchanged_reason == reason


@pytest.mark.parametrize(
    ("preserve", "corrects", "expected"),
    [
        (PRESERVED, True, ["optimising two bases"]),
        (PRESERVED, False, ["optimising two base"]),
        ((), True, ["optimising two base"]),
    ],
)
def test_a_correction_leaves_the_words_of_the_lexicon(
    preserve: tuple[Preserved, ...],
    corrects: bool,  # noqa: FBT001
    expected: list[str],
) -> None:
    """A word that the collection has is right; other tasks may inflect it, as without guards."""
    options = Options(preserve=frozenset(preserve), corrects=corrects)
    lexicon = Lexicon({"two": 3, "bases": 2})
    texts = outputs("optimising two base", "optimising two bases")
    selection = select_candidates("optimisng two bases", texts, options, lexicon)
    assert [result.text for result in selection.reformulations] == expected


@pytest.mark.parametrize(
    ("text", "gain", "expected"),
    [
        ("clean a laptop screens", 5.0, "clean a laptop screens"),
        ("clean a laptop screens", 4.9, "clean a laptop screen"),  # the model is not sure
        ("clean a laptop screen?", 50.0, "clean a laptop screen"),  # the same words
        ("a laptop screen", 50.0, "clean a laptop screen"),  # more than a few letters
    ],
)
def test_a_guarded_correction_is_a_clear_one(text: str, gain: float, expected: str) -> None:
    """It changes a few letters of a word, and the model prefers it clearly to the query."""
    query = "clean a laptop screen"
    best, echo = outputs(text, query)
    best = msgspec.structs.replace(best, logprob=echo.logprob + gain)
    options = Options(preserve=frozenset({"numbers"}), corrects=True)
    selection = select_candidates(query, [best, echo], options)
    assert [one.text for one in selection.reformulations] == [expected]


def test_guarded_candidates_come_in_the_order_of_their_scores() -> None:
    """The best one that passes is the answer, whatever the search ranked it by."""
    first, second = outputs("rice 10 best", "10 best rice")
    options = Options(preserve=NUMBERS)
    selection = select_candidates("best 10 rice", [second, first], options)
    assert [result.text for result in selection.reformulations] == ["rice 10 best"]


@pytest.mark.parametrize(
    "text", ["<extra_id_0>", "how <extra_id_17> to", "the the the", "buy a car buy a car"]
)
def test_sentinels_and_loops_are_no_reformulations(text: str) -> None:
    """Sentinels and loops are replaced by the next best output, or by nothing."""
    assert select_texts("q", [text, "good"], Options()) == ["good"]
    assert select_texts("q", [text], Options()) == []


def test_a_query_that_repeats_itself_may_be_answered_likewise() -> None:
    """A query with a loop can have reformulations with loops."""
    assert select_texts("ha ha ha song", ["ha ha ha lyrics"], Options()) == ["ha ha ha lyrics"]


def test_texts_without_words() -> None:
    """Texts without letters can be queries and reformulations."""
    assert select_texts("c++", ["?", "!"], Options(n=2)) == ["?", "!"]
    assert select_texts("?!", ["what"], Options(min_difference=0.5)) == ["what"]


@settings(deadline=None)
@given(
    query=TEXTS.filter(str.strip),
    texts=st.lists(TEXTS, max_size=10),
    options=st.builds(
        Options,
        n=st.integers(1, 6),
        include_original=st.booleans(),
        preserve=st.frozensets(st.sampled_from(sorted(PRESERVED))),
        min_difference=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
    ),
)
def test_what_always_holds(query: str, texts: list[str], options: Options) -> None:
    """Results are at most n, ordered, distinct, non-empty, and satisfy the constraints."""
    results = select(query, texts, options)
    if not any(result.source == "model" for result in results):
        assert results in ([], [original_candidate(query)])
        return
    generated = [result for result in results if result.source == "model"]
    assert (
        results[: len(results) - len(generated)]
        == [original_candidate(query)] * options.include_original
    )
    assert len(generated) <= options.n
    assert [result.rank for result in results] == list(range(1, len(results) + 1))
    assert all(result.text and result.text == clean(result.text) for result in generated)
    assert len({fold(result.text) for result in results}) == len(results)
    guards = Guards(query, options.preserve)
    assert all(guards.violation(result.text) is None for result in generated)
    scores = [result.score for result in generated if result.score is not None]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == len(generated)
    for left, right in combinations([query, *(result.text for result in generated)], 2):
        assert difference(words(left), words(right)) >= options.min_difference
    if not options.can_drop and any(text.strip() and not has_loop(words(text)) for text in texts):
        assert generated


def test_many_long_texts_are_chosen_among_in_no_time() -> None:
    """The selection runs in the event loop, so it must be fast for the longest texts."""
    chance = random.Random(1)
    vocabulary = [f"word{number}" for number in range(1000)]
    query, *texts = (" ".join(chance.choices(vocabulary, k=k)) for k in [500] + [120] * 20)
    started = time.process_time()
    assert len(select_texts(query, texts, Options(n=16))) == 16
    assert time.process_time() - started < 0.25


def test_many_loops_are_dropped_in_no_time() -> None:
    """Loops in the longest texts are detected fast, for the longest query without a loop."""
    query = " ".join(str(number) for number in range(250))
    started = time.process_time()
    assert select_texts(query, ["round " * 60] * 20, Options(n=16)) == []
    assert time.process_time() - started < 0.25
