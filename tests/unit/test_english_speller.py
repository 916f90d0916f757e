"""Corrections of English words without a collection's lexicon."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t5serve.reformulation.english_speller import SURE, EnglishSpeller


@pytest.fixture(scope="module")
def speller() -> EnglishSpeller:
    return EnglishSpeller.load()


@pytest.mark.parametrize(
    ("query", "corrected"),
    [
        ("how do i resset my pasword", "how do i reset my password"),  # codespell:ignore
        ("what is the capitl of austrlia?", "what is the capital of australia?"),
        ("temprature for cooking salmon", "temperature for cooking salmon"),  # codespell:ignore
        ("why protons do not break intto quarks", "why protons do not break into quarks"),
        ("kindred hospital phone nubmer", "kindred hospital phone number"),  # codespell:ignore
    ],
)
def test_a_misspelt_word_becomes_the_frequent_one(
    speller: EnglishSpeller, query: str, corrected: str
) -> None:
    """One typing error is mended in each word."""
    assert speller.correct(query) == corrected


@pytest.mark.parametrize(
    "query",
    [
        "how tall is the eiffel tower",  # nothing is wrong
        "nginx kubectl postgresql",  # words of texts, if not of dictionaries
        "what is nfcu",  # short words are abbreviations
        "huitzilopochtli",  # nothing is near
        "metalloids and intranational flights",  # made of known words
        "poct meaning",  # a rare word is asked for, here and below
        "what is actc",
        "What's actc?",
        "what does poct mean",
        "what does poct stand for",
        "what is the meaning of poct",
        "what is poct meaning",
        "urdu meaning of gyne",
        "the definition of poct",
        "Define the gyne",
        "Teh HTE",  # capitals: a name, an abbreviation  # codespell:ignore
        # Code and addresses:
        "swappiness=10 adress.py user@adress.com /etc/adress my-adress",  # codespell:ignore
        'the song "teh fear"',  # quoted  # codespell:ignore
        "東京の人口 adreße",
        "a" * 100_000,  # whose edits would fill the memory
        "",
    ],
)
def test_other_words_stay(speller: EnglishSpeller, query: str) -> None:
    """Names, code, quotations and rare words are left as they are."""
    assert speller.correct(query) == query


@pytest.mark.parametrize(
    ("query", "corrected"),
    [
        ("dell moniter", "dell moniter"),  # "monster" is as near as "monitor"
        ("the app is loging me out", "the app is loging me out"),  # codespell:ignore
        ("bank holliday", "bank holiday"),  # codespell:ignore
        ("conection lost", "connection lost"),  # codespell:ignore
    ],
)
def test_a_sure_correction_has_no_rival(
    speller: EnglishSpeller, query: str, corrected: str
) -> None:
    """Another word that is nearly as plausible makes it unsure, but not another form of it."""
    assert speller.correct(query, SURE) == corrected


@given(st.text())
def test_what_is_no_plain_word_stays(text: str) -> None:
    """The text keeps its length in words, and everything but plain words."""
    corrected = EnglishSpeller.load().correct(text)
    assert len(corrected.split()) == len(text.split())
    assert "".join(c for c in corrected if not c.isalpha()) == "".join(
        c for c in text if not c.isalpha()
    )
