"""Typed queries, spellers, and the rules that judge what answers keep."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from t5eval.messages import Answer
from t5eval.quality import keeping, typos
from t5eval.quality.keeping import Judge
from t5eval.quality.speller import Speller

pytest.importorskip("symspellpy")
pytest.importorskip("Stemmer")

DICTIONARY = {"buy": 900, "cheap": 300, "guitar": 20, "guitars": 10, "phone": 400, "play": 800}
DICTIONARY |= {"without": 700}
STOP_WORDS = frozenset({"a", "can", "do", "how", "i", "the", "not"})


@pytest.fixture
def judge() -> Judge:
    """A judge with seven words of English."""
    return Judge(DICTIONARY, frozenset({"kontakt"}), STOP_WORDS)


def test_typos_are_two_and_repeatable() -> None:
    """The same for the same seed; short words, numbers and capitals stay."""
    queries = ["learning to play the guitar", "a b 1999 NASA"]
    typed = typos.add_typos(queries, seed=3)
    assert typed == typos.add_typos(queries, seed=3) != typos.add_typos(queries, seed=4)
    assert typed[1::2] == [queries[1]] * typos.DRAWS
    assert len({queries[0], *typed[::2]}) == 1 + typos.DRAWS


def test_the_recovered_share_by_hand() -> None:
    """Half of a loss of 0.2; nothing can be recovered where nothing was lost."""
    assert typos.recovered(0.5, 0.3, 0.4) == pytest.approx(0.5)
    assert typos.recovered(0.3, 0.3, 0.4) is None


def test_a_speller_knows_the_words_that_it_is_given() -> None:
    """A listed word stays; others become the nearest listed one, the most frequent of equals."""
    speller = Speller(typos.count_words(["boundary layer", "the layers, the layers", "mach 2"]))
    assert speller.correct("Boundray layrs of mahc 2!") == "boundary layers of mach 2!"
    assert speller.correct("the quantum xy") == "the quantum xy"


def test_the_english_speller_does_not_know_names() -> None:
    """It corrects English words, and has a common word for a name."""
    speller = Speller.of_english()
    assert speller.correct("becuase of the boundray") == "because of the boundary"
    assert speller.correct("nginx and numpy") == "engine and bumpy"


@pytest.mark.parametrize(
    ("query", "answer", "expected"),
    [
        ("top 10 of 1999", "best 10 in 1999", True),
        ("top 10 of 1999", "best 10", False),
        ("1,000 things in m²", "1000 things", True),
        ("is x² 2 or 4", "x² 4", False),
        ("macbook m2", "macbook m3", False),
        ("70 m2 in km²", "70 area", True),
        ("top ten", "best", None),
    ],
)
def test_numbers(judge: Judge, query: str, answer: str, *, expected: bool | None) -> None:
    """All digits of the query, as often as there; those of units are no numbers."""
    assert judge.numbers(query, answer) is expected


@pytest.mark.parametrize(
    ("query", "answer", "expected"),
    [
        ("why does it not start", "why doesn't it start", True),
        ("play without a pick", "play with a pick", False),
        ("play with a pick", "do not play with a pick", False),
        ("sugar-free cake", "cake without sugar", True),
        ("dont know", "cannot know", True),
        ("cable tv", "knot, another note", None),
        ("symphony no 40 or no. 41", "symphony", None),
        ("no 5g signal", "5g signal", False),
        ("play withuot a pick", "play without a pick", None),
        ("can gpt play", "gpt does not play", False),
    ],
)
def test_negation(judge: Judge, query: str, answer: str, *, expected: bool | None) -> None:
    """One in both, or a fault where it is lost or added; nothing to judge where none is.

    A misspelt negation that is corrected is not added.
    """
    assert judge.negation(query, answer) is expected


def test_the_rarest_word_and_the_content(judge: Judge) -> None:
    """By stems; a word that the dictionary lacks is the rarest."""
    assert judge.rarest("how do I play the guitars", "playing a guitar") is True
    assert judge.rarest("buy a cheap ukulele", "buy a cheap guitar") is False
    assert judge.rarest("the 12th guitar", "guitar") is True
    assert judge.rarest("how do I", "x") is None
    assert judge.rarest("buy a cheap gitar", "buy a cheap guitar") is None  # codespell:ignore
    assert judge.rarest("buy a cheap gitar", "buy cheap") is False  # codespell:ignore
    assert judge.content("buy a cheap guitar", "cheap guitars") == pytest.approx(2 / 3)
    assert judge.content("how can I", "x") is None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("buy phone", False),
        ("buy kontakt", False),
        ("buy ukuleles", False),
        ("buy xy", False),
        ("buy xylofon", True),
        ("buy 2 phones", True),
    ],
)
def test_invention(judge: Judge, answer: str, *, expected: bool) -> None:
    """A new number, or a word that is in no list and not of the query."""
    assert judge.invents("buy a ukulele", answer) is expected


def answers(texts: Sequence[str]) -> list[Answer]:
    """Answers of a text each, all on purpose."""
    return [Answer([text]) for text in texts]


def test_several_searches_are_one_answer(judge: Judge) -> None:
    """Together they keep what one of them keeps."""
    row = keeping.judge_answers(
        ["2 guitars or 10 phones"],
        [Answer(["2 guitars", "10 phones"])],
        judge,
        ["2 guitars or 10 phones"],
    )
    assert row["numbers"] == 1


@pytest.mark.parametrize(
    ("answer", "content", "numbers", "negation"),
    [
        ("play 10 guitars", 1, 1, None),
        ("buy 2 phones", 0, 0, None),
        ("buy 2 phones no play 10 guitars", 1, 1, None),
        ("don't play 10 guitars", 1, 1, 0),
    ],
)
def test_a_query_that_corrects_itself_keeps_what_it_means(
    judge: Judge, answer: str, content: float, numbers: float, negation: float | None
) -> None:
    """What was taken back need not stay, and its "no" is no negation, kept or not."""
    query, meaning = "buy 2 phones no wait play 10 guitars", "play 10 guitars"
    row = keeping.judge_answers([query], answers([answer]), judge, [meaning])
    assert (row["content"], row["numbers"]) == (content, numbers)
    assert row["negation"] == negation


def test_shares_are_of_the_changed_answers(judge: Judge) -> None:
    """Unchanged queries are counted by their reasons."""
    queries = ["play 10 guitars", "not cheap", "Phone", "buy", "guitar"]
    given = [
        *answers(["play guitar", "cheap", "phone "]),
        Answer(["buy"], unchanged_reason="guard"),
        Answer(["guitar"], fell_back=True),
    ]
    row = keeping.judge_answers(queries, given, judge, queries)
    assert row["changed"] == 2 / 5
    assert row["unchanged"] == {"already_good": 0.2, "guard": 0.2, "nothing usable": 0.2}
    assert (row["numbers"], row["numbers judged"]) == (0, 1)
    assert (row["negation"], row["negation judged"]) == (0, 1)
    assert row["rarest"] == 1  # "10" is judged as a number
    assert row["invented"] == 0


def test_terms_are_drawn_and_checked_in_every_answer() -> None:
    """A content word where there is one; each text of each answer must have it."""
    terms = keeping.draw_terms(["the guitar", "how can i"], seed=1)
    assert terms[0] == "guitar"
    assert terms[1] in {"how", "can", "i"}
    given = [Answer(["Guitar!", "guitars"]), Answer(["x"])]
    assert keeping.terms_kept(["guitar", "x"], given) == pytest.approx(2 / 3)
