"""Comparison of texts: folding, edit distance, loops."""

from __future__ import annotations

import time
import unicodedata
from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from t5serve.reformulation.text import (
    clean,
    difference,
    fold,
    fold_sentence,
    has_loop,
    plain_words,
    words,
)

ASCII = st.text(st.characters(codec="ascii"))
LISTS = st.lists(st.sampled_from(["a", "b", "c", "new", "york"]), max_size=8)


def edits(left: tuple[str, ...], right: tuple[str, ...]) -> int:
    """Computes Levenshtein's distance by its definition."""

    @cache
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return max(i, j)
        return min(
            distance(i - 1, j) + 1,
            distance(i, j - 1) + 1,
            distance(i - 1, j - 1) + (left[i - 1] != right[j - 1]),
        )

    return distance(len(left), len(right))


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("", ""),
        (" \t\n\u00a0\u3000 ", ""),
        ("  what \n is\tthis ", "what is this"),
        ("a\u00a0b\u2003c\x1cd", "a b c d"),
        ("zero\u200bwidth", "zero\u200bwidth"),
    ],
)
def test_clean(text: str, cleaned: str) -> None:
    """Blanks of every kind become single spaces, and both ends are stripped."""
    assert clean(text) == cleaned


@given(ASCII)
def test_plain_text_has_no_rules_of_its_own(text: str) -> None:
    """ASCII texts, which take a short cut, fold and split as they do beside another word."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    assert fold(text) == clean(folded)
    assert plain_words(text) == plain_words(f"{text} caf\u00e9")[:-1]


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("what is x", "What is x?"),
        ("what is x?", "what is  x ?"),
        ("hello, world", "Hello world!"),
        ("c++?", "c++"),
        ("node.js: how?!", "node.js how"),
        ("what\u2019s new", "what's new"),
        ("\u00bfd\u00f3nde est\u00e1?", "d\u00f3nde est\u00e1"),
        ("\u4ec0\u4e48\u662f\u732b\uff1f", "\u4ec0\u4e48\u662f\u732b\u3002"),
        ("\u0645\u0627 \u0647\u0648\u061f", "\u0645\u0627 \u0647\u0648"),
        ("he works at yahoo!", "he works at yahoo."),
    ],
)
def test_sentence_punctuation_makes_no_difference(text: str, other: str) -> None:
    """Marks at the ends of words, typographic quotes, case, width and spaces are ignored."""
    assert fold_sentence(text) == fold_sentence(other)
    assert fold_sentence(fold_sentence(text)) == fold_sentence(text)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("c++", "c"),
        ("c++", "c#"),
        ("3.5", "35"),
        ("-5", "5"),
        ("5!", "5"),
        (".net", "net"),
        ("what does ?? mean", "what does mean"),
        ("what does ? mean", "what does mean"),
        ("git add .", "git add"),
        ("cd ..", "cd"),
        ("re-sign", "resign"),
        ('"new york" times', "new york times"),
        ("it's", "its"),
        ("1,000", "1000"),
        ("?", "!"),
        ("?", ""),
    ],
)
def test_other_signs_make_another_text(text: str, other: str) -> None:
    """Signs that carry meaning in a search are compared."""
    assert fold_sentence(text) != fold_sentence(other)


@given(st.text())
def test_only_marks_are_left_out(text: str) -> None:
    """No letter or digit is lost."""
    kept = [c for c in fold_sentence(text) if c.isalnum()]
    assert kept == [c for c in fold(text) if c.isalnum()]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("What IS this", "what is this"),
        (" what  is\nthis ", "what is this"),
        ("\uff26\uff55\uff4c\uff4c width", "full width"),
        ("\ufb01nd", "find"),
        ("Stra\u00dfe", "STRASSE"),
        ("cafe\u0301", "caf\u00e9"),
        ("10\u00b2", "102"),
        ("\u1f80\u0345", "\u1f88\u0345"),
        (
            "\u03c3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2",
            "\u03a3\u038a\u03a3\u03a5\u03a6\u039f\u03a3",
        ),
    ],
)
def test_fold_forgets(left: str, right: str) -> None:
    """Case, width, composition and spaces do not distinguish texts."""
    assert fold(left) == fold(right)


@pytest.mark.parametrize(
    ("left", "right"), [("resume", "r\u00e9sum\u00e9"), ("a b", "ab"), ("c", "c++"), ("?", "")]
)
def test_fold_keeps(left: str, right: str) -> None:
    """Accents, inner spaces and signs distinguish texts."""
    assert fold(left) != fold(right)


@settings(deadline=None)
@given(st.text(max_size=30))
@example("\u1e9e\u0130\u0149\u01f0\u0345\u0301")
@example("\u00a8 \u00b4\u037a\u1fee\u0345")
def test_folding_again_changes_nothing(text: str) -> None:
    """Folding is idempotent; a folded text is clean and in NFKC."""
    folded = fold(text)
    assert fold(folded) == folded == clean(folded)
    assert unicodedata.is_normalized("NFKC", folded)


@settings(deadline=None)
@given(st.text(alphabet=st.characters(max_codepoint=0x24F), max_size=30))
def test_case_and_spaces_never_matter(text: str) -> None:
    """Case and spaces do not change the folded text."""
    assert fold(text.upper().lower()) == fold(text.upper())
    assert fold(f"  {text.replace(' ', '   ')}\n") == fold(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("How's iPhone-12?", ["how", "s", "iphone", "12"]),
        ("snake_case", ["snake_case"]),
        ("C++ vs. C#", ["c", "vs", "c"]),
        ("", []),
        ("   ", []),
        ("?!", ["?", "!"]),
        (
            "\u4f60\u597d \u0645\u0631\u062d\u0628\u0627",
            ["\u4f60\u597d", "\u0645\u0631\u062d\u0628\u0627"],
        ),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    """Words have letters and digits, folded; signs count only in a text without words."""
    assert words(text) == expected


def test_vowel_signs_belong_to_their_words() -> None:
    """Hindi for "whether" and "of" differ in a combining vowel: the words are different."""
    assert words("\u0915\u093f") != words("\u0915\u093e")
    assert len(words("\u0939\u093f\u0928\u094d\u0926\u0940")) == 1


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ([], [], 0.0),
        ([], ["a"], 1.0),
        (["a"], ["b"], 1.0),
        (["a", "b"], ["b", "a"], 1.0),
        (["a", "b", "c", "d"], ["a", "c", "d"], 0.25),
        (["a", "b", "c", "d"], ["a", "x", "c", "d"], 0.25),
        (["a"], ["a", "b", "c", "d"], 0.75),
    ],
)
def test_difference(left: list[str], right: list[str], expected: float) -> None:
    """The difference is the share of missing, new or replaced words of the longer text."""
    assert difference(left, right) == expected


@settings(deadline=None)
@given(LISTS, LISTS)
def test_difference_by_its_definition(left: list[str], right: list[str]) -> None:
    """The difference is 0 for equal lists only, at most 1, symmetric and minimal."""
    result = difference(left, right)
    assert 0 <= result <= 1
    assert (result == 0) == (left == right)
    assert result == difference(right, left)
    assert result * max(len(left), len(right), 1) == pytest.approx(edits(tuple(left), tuple(right)))


@pytest.mark.parametrize(
    "text",
    [
        "the the the",
        "no No NO",
        "what is what is what is",
        "buy a house buy a house",
        "how to cook rice how to cook rice",
        "well: how to cook rice? How to cook rice!",
        "x a b c d e a b c d e y",
        "!!!",
    ],
)
def test_loops_are_found(text: str) -> None:
    """A loop repeats one or two words three times, or more words twice, anywhere in a text."""
    assert has_loop(words(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "word",
        "new york new york",
        "bye bye",
        "that that",
        "walla walla weather",
        "to be or not to be",
        "the cat and the dog and the bird",
        "is it better to buy or to rent or to lease",
        "10 10 20 20",
        "\u0939\u093f\u0928\u094d\u0926\u0940 \u0939\u093f\u0928\u094d\u0926\u0940",
    ],
)
def test_ordinary_repetition_is_no_loop(text: str) -> None:
    """Names and idioms with repeated words are no loops."""
    assert not has_loop(words(text))


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=6), LISTS, LISTS)
def test_three_times_is_always_a_loop(
    phrase: list[str], before: list[str], after: list[str]
) -> None:
    """A phrase that occurs three times in a row is a loop in any context."""
    assert has_loop([*before, *phrase * 3, *after])


@settings(deadline=None)
@given(st.lists(st.integers(0, 1000), unique=True, max_size=40))
def test_other_words_are_never_a_loop(numbers: list[int]) -> None:
    """A text of distinct words has no loop."""
    assert not has_loop([str(number) for number in numbers])


def test_a_long_text_is_looked_through_in_no_time() -> None:
    """Thousands of emoji can be three tokens; the search must not block the event loop."""
    text = "".join(chr(0x1F300 + index % 400) for index in range(1000))
    started = time.process_time()
    has_loop(words(text))
    assert time.process_time() - started < 0.25
