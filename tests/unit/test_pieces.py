"""Sequences that are lists: how they are split, which of their queries are returned, and when."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t5engine.messages import Output, Progress, Token
from t5serve.reformulation.candidates import Selection, select_candidates
from t5serve.reformulation.live_text import LivePieces
from t5serve.reformulation.options import Options
from t5serve.reformulation.pieces import select_pieces, split_pieces
from t5serve.reformulation.text import clean, fold

QUERY = "who is taller, ann or bob"
WORDS = ["ann", "Ann", "ann?", "bob", "height", "age", "who", "is", "taller", QUERY]
MARKS = st.sampled_from([" ; ", ";", "<sep>", " || "])
# Everything that a model may write: words, marks, parts of marks, blanks.
TEXTS = st.lists(
    st.sampled_from([*WORDS, ";", " ; ", "<sep>", "<", "sep", "|", " || ", " ", "\n", ""]),
    max_size=14,
).map("".join)
FINISHES = st.sampled_from(["stop", "length"])


def sequence(
    text: str, *, finish: Literal["stop", "length"] = "stop", logprob: float = -1.0
) -> Output:
    """Returns a decoded sequence whose tokens are its words and blanks."""
    parts = [part for part in text.replace(" ", "\0 ").split("\0") if part]
    return Output(
        text=text,
        tokens=list(range(3, 3 + len(parts))),
        logprob=logprob * (len(parts) + 1),
        decoded=len(parts) + 1,
        score=logprob,
        finish_reason=finish,
        details=[Token(token, part, -0.5, []) for token, part in enumerate(parts, 3)],
    )


def select(texts: Sequence[str], **options: Any) -> Selection:
    """Selects from sequences, each one nat less likely than the one before."""
    outputs = [sequence(text, logprob=-1.0 - rank) for rank, text in enumerate(texts)]
    given_options = Options(**{"n": 5, "separator": " ; ", **options})
    return select_pieces(QUERY, outputs, given_options)


def select_texts(texts: Sequence[str], **options: Any) -> list[str]:
    return [one.text for one in select(texts, **options).reformulations]


@pytest.mark.parametrize(
    ("text", "finish", "expected"),
    [
        ("ann height ; bob height", "stop", ["ann height", "bob height"]),
        ("ann height", "stop", ["ann height"]),
        ("ann height;bob  height", "stop", ["ann height", "bob height"]),
        ("ann ; ; bob", "stop", ["ann", "bob"]),
        ("ann ;; bob", "stop", ["ann", "bob"]),
        ("ann ; bob ;", "stop", ["ann", "bob"]),
        ("; ann ; bob", "stop", ["ann", "bob"]),
        ("ann ; bob hei", "length", ["ann"]),
        ("ann hei", "length", ["ann hei"]),
        ("; ann hei", "length", ["ann hei"]),
        ("ann ; bob ;", "length", ["ann", "bob"]),
        ("ann ; bob ; ", "length", ["ann", "bob"]),
        ("ann ; go go go go ; bob", "stop", ["ann", "bob"]),
        ("ann <extra_id_0> ; bob", "stop", ["bob"]),
        (" ; ;; ", "stop", []),
        ("", "stop", []),
    ],
)
def test_a_sequence_is_split_at_its_marks(
    text: str, finish: Literal["stop", "length"], expected: list[str]
) -> None:
    """Blank queries are left out, and the last of several if `max_tokens` cut it."""
    pieces = split_pieces(QUERY, sequence(text, finish=finish), " ; ")
    assert [piece.text for piece in pieces] == expected


@given(st.lists(st.permutations(["ann", "bob", "height", "age"]), min_size=1), MARKS)
def test_splitting_loses_and_invents_nothing(lists: list[list[str]], separator: str) -> None:
    """What was joined comes apart again, with all tokens but the marks."""
    texts = [" ".join(words) for words in lists]
    joined = f" {separator.strip()} ".join(texts)
    pieces = split_pieces(QUERY, sequence(joined), separator)
    assert [piece.text for piece in pieces] == texts
    assert sum(piece.tokens for piece in pieces) == sum(map(len, lists))


@given(TEXTS, MARKS, FINISHES)
def test_all_text_is_of_the_sequence(
    text: str, separator: str, finish: Literal["stop", "length"]
) -> None:
    """Queries stand in the sequence in their order, and have no mark."""
    rest = clean(text)
    for piece in split_pieces(QUERY, sequence(text, finish=finish), separator):
        assert piece.text
        assert separator.strip() not in piece.text
        before, found, rest = rest.partition(piece.text)
        assert found, (before, piece.text)


def test_queries_share_the_score_and_have_their_own_tokens() -> None:
    """Ranks are in the order of the list."""
    first, second = select(["bob height in cm ; ann height"]).reformulations
    assert (first.text, first.rank, first.tokens) == ("bob height in cm", 1, 4)
    assert (second.text, second.rank, second.tokens) == ("ann height", 2, 2)
    assert first.score == second.score == first.model_score == second.model_score == -1.0
    assert {first.source, second.source} == {"model"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["ann", "bob"]),
        ({"n": 1}, ["ann"]),
        ({"n": 2, "wants_more": True}, ["ann", "bob"]),
        ({"n": 3, "wants_more": True}, ["ann", "bob", "cid"]),
        ({"n": 5, "wants_more": True}, ["ann", "bob", "cid", "dan"]),
        ({"n": 5, "wants_more": True, "strategy": "greedy"}, ["ann", "bob"]),
        ({"n": 5, "include_original": True}, [QUERY, "ann", "bob"]),
        ({"n": 1, "include_original": True}, [QUERY, "ann"]),
    ],
)
def test_the_first_list_counts_unless_more_are_wanted(
    options: dict[str, Any], expected: list[str]
) -> None:
    """Further sequences add what the first ones do not have, up to n."""
    texts = ["ann ; Bob ; bob", "", "BOB ; cid", "dan ; ann"]
    assert [fold(text) for text in select_texts(texts, **options)] == list(map(fold, expected))


@pytest.mark.parametrize(
    ("texts", "options", "expected", "reason"),
    [
        ([QUERY.upper(), "ann"], {}, [QUERY], "already_good"),
        ([f"{QUERY} ; {QUERY}"], {}, [QUERY], "already_good"),
        ([f"{QUERY} ; ann", "bob"], {}, [QUERY, "ann"], None),
        ([QUERY, "ann"], {"n": 2, "wants_more": True}, ["ann"], None),
        ([QUERY, QUERY], {"n": 2, "wants_more": True}, [QUERY], "already_good"),
        ([f"{QUERY} ; ann"], {"include_original": True}, [QUERY, "ann"], None),
        ([QUERY, "ann"], {"include_original": True}, [QUERY, "ann"], None),
        ([QUERY], {"include_original": True}, [], None),
        (["ann", QUERY], {"terms": ("bob",)}, [QUERY], "guard"),
        (["ann"], {"terms": ("bob",)}, [QUERY], "guard"),
        (["ann", f"{QUERY} ; ann"], {"terms": ("bob",)}, [QUERY, "ann"], None),
        ([" ; "], {}, [], None),
    ],
)
def test_the_query_itself(
    texts: list[str], options: dict[str, Any], expected: list[str], reason: str | None
) -> None:
    """A list of the query alone is no change; a list with more keeps it, but not twice."""
    selection = select(texts, **options)
    assert [one.text for one in selection.reformulations] == expected
    assert selection.unchanged_reason == reason


def test_punctuation_makes_no_other_query() -> None:
    """A query of a list counts once, and the query itself with other punctuation is an echo."""
    assert select_texts(["ann height ; Ann height? ; bob"]) == ["ann height", "bob"]
    echo = select([f"{QUERY}?"])
    assert echo.unchanged_reason == "already_good"
    assert [one.text for one in echo.reformulations] == [QUERY]  # as it was typed


def test_guards_take_the_next_list() -> None:
    """The best list that keeps everything is the answer, whatever the search ranked it by."""
    texts = ["ann height", "ann height ; bob height", "bob age ; ann age"]
    assert select_texts(texts, terms=("ann", "bob")) == ["ann height", "bob height"]
    assert select_texts(texts, terms=("age",), min_score=-2.5) == [QUERY]
    assert select_texts(texts[1:], min_score=-2.5) == ["ann height", "bob height"]


def test_if_no_list_passes_queries_may_pass_alone() -> None:
    """A query that keeps everything does not need the others, if it is the first of its list."""
    alone = "taller: ann or bob"
    weaker = "ann height ; bob height"
    options = {"preserve": ("aspects",), "strategy": "beam"}
    assert select_texts([f"{alone} ; ann today ; bob tallest"], **options) == [alone]
    assert select_texts([f"ann today ; {alone}"], **options) == [QUERY]
    assert select_texts([f"{alone} ; ann today", weaker], **options) == weaker.split(" ; ")
    assert select_texts([f"{alone} ; ann today", QUERY], **options) == [alone]


def test_a_difference_is_required_of_each_query() -> None:
    """`min_difference` drops queries of a list that are near to another or to the original."""
    texts = ["ann or bob who is taller ; ann height ; ann height cm ; bob age"]
    assert select_texts(texts, min_difference=0.5) == [
        "ann or bob who is taller",
        "ann height",
        "bob age",
    ]
    assert select_texts([QUERY + " height ; bob"], min_difference=0.5) == ["bob"]


@settings(max_examples=300)
@given(TEXTS, MARKS, FINISHES, st.integers(1, 4), st.integers(0, 2**32))
def test_a_stream_adds_up_to_the_answer(
    text: str, separator: str, finish: Literal["stop", "length"], n: int, seed: int
) -> None:
    """Whatever parts a text arrives in, what is sent of it is in the answer with the same rank."""
    options = Options(n=n, separator=separator)
    sent: list[tuple[int, str]] = []
    live = LivePieces(QUERY, options, lambda rank, part: sent.append((rank, part)))
    chance = random.Random(seed)
    start = 0
    while start < len(text):
        end = start + chance.randint(1, 6)
        live(Progress(0, 0, text[start:end]))
        start = end
    selection = select_pieces(QUERY, [sequence(text, finish=finish)], options)
    answer = [(one.rank, one.text) for one in selection.reformulations]
    assert len(sent) == live.sent
    assert [(rank, fold(part)) for rank, part in sent] == [
        (rank, fold(part)) for rank, part in answer[: live.sent]
    ]
    assert sent + answer[live.sent :] == answer
    assert len(answer) - live.sent <= 1  # only the last query waits for the end


@given(TEXTS, st.integers(1, 3))
def test_tasks_without_a_separator_never_split(text: str, n: int) -> None:
    """A text with a mark in it is one reformulation there, with all of its tokens."""
    output = sequence(text)
    selection = select_candidates(QUERY, [output], Options(n=n))
    assert [one.text for one in selection.reformulations] in ([clean(text)], [])
    assert all(one.tokens == len(output.tokens) for one in selection.reformulations)
