"""Faults of English that a candidate must not add."""

from __future__ import annotations

import pytest

from t5serve.reformulation.english import English
from t5serve.reformulation.guards.analysed_text import AnalysedText
from t5serve.reformulation.guards.grammar import breaks_grammar


def breaks(query: str, candidate: str) -> bool:
    english = English.load()
    return breaks_grammar(AnalysedText(candidate, english), AnalysedText(query, english))


@pytest.mark.parametrize(
    "phrase",
    [
        *(
            "a town",
            "an apple",
            "an hour",
            "a user",
            "a unicorn",
            "an fbi agent",
            "a one-way street",
        ),
        *(
            "a european river",
            "an mri scan",
            "an x-ray",
            "an honest answer",
            "a b2b company",
            "an html file",
        ),
        *("a vitamin a overdose", "an herb garden"),
    ],
)
def test_articles_that_fit_are_no_fault(phrase: str) -> None:
    """By their sound, as far as letters tell it."""
    assert not breaks("what is it", f"what is {phrase}")


@pytest.mark.parametrize("phrase", ["an town", "a apple", "an significant team", "a island"])
def test_an_article_that_does_not_fit_is_a_fault(phrase: str) -> None:
    """Unless the query has it too."""
    assert breaks("what is it", f"what is {phrase}")
    assert not breaks(f"is {phrase} it", f"what is {phrase}")


def test_a_question_is_asked_once() -> None:
    """Twice only if the query asks twice."""
    assert breaks("is tin or iron denser", "which of tin and iron, which is denser")
    assert not breaks("who knows who wrote dune", "who knows who is the author of dune")
    assert not breaks("is tin or iron denser", "which of tin and iron is denser")
