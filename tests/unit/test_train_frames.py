"""Questions reworded by their form, and differences split into searches."""

from __future__ import annotations

import random
import re

import pytest

from t5train import differences, frames
from t5train.frames import Reworder

FRAMES, SYNONYMS = frames.read_frames(), frames.read_synonyms()
TRIES = 60


def rewordings(question: str) -> set[str]:
    reworder = Reworder(FRAMES, SYNONYMS, frozenset({"manage", "run"}))
    rng = random.Random(0)
    return {text for _ in range(TRIES) if (text := reworder.reword(question, rng))}


@pytest.mark.parametrize(
    ("question", "reworded"),
    [
        ("How do I cure asthma?", "How can I cure asthma?"),
        ("how do i cure asthma", "how can i cure asthma"),
        ("Why did Elon Musk start Tesla?", "What made Elon Musk start Tesla?"),
        ("What does GNI mean?", "What is the meaning of GNI?"),
        ("What is the height of Ben Nevis?", "How tall is Ben Nevis?"),
        ("Tell me about the Firebase DB.", "What can you tell me about the Firebase DB?"),
        ("What are the main uses of tin?", "Name the main uses of tin."),
        ("what are the main uses of tin", "name the main uses of tin"),
        ("Managing remote developers", "How to manage remote developers"),
        ("running shoes in winter", "how to run shoes in winter"),
        ("Is it hard to buy a boat?", "Is it difficult to buy a boat?"),
        ("Where is the oldest bridge?", "What is the location of the oldest bridge?"),
    ],
)
def test_questions_take_another_form(question: str, reworded: str) -> None:
    """A question is asked in another form or in other words, written as it was."""
    assert reworded in rewordings(question)


@pytest.mark.parametrize(
    "question",
    [
        "ImportError: cannot import name 'escape'",
        "weather in laurinburg nc",
        "Is Thunder an angel?",
    ],
)
def test_unknown_forms_stay(question: str) -> None:
    """A question whose form is not known is not reworded."""
    assert not rewordings(question)


def test_a_noun_begins_no_title() -> None:
    """Running shoes are a thing, not a way to run."""
    reworder = Reworder(FRAMES, SYNONYMS, frozenset({"run"}), frozenset({"running"}))
    assert reworder.reword("running shoes in winter", random.Random(0)) is None


@pytest.mark.parametrize(
    ("text", "reworded"),
    [
        ("Which is deeper, Lake Tana or Lake Mead?", "Is Lake Tana or Lake Mead deeper?"),
        ("which of tin and iron is denser", "among tin and iron, which is denser"),
        ("How do the areas of Peru and Chad compare?", "Compare the areas of Peru and Chad."),
        ("scurvy symptoms", "symptoms of scurvy"),
        ("paella recipe", "recipe for paella"),
        ("list of moons", "moons list"),
    ],
)
def test_comparisons_and_keywords_are_reworded(text: str, reworded: str) -> None:
    """Keywords stay keywords."""
    assert reworded in rewordings(text)


def test_an_article_fits_the_word_after_it() -> None:
    """An important question is not "an significant" one."""
    assert not any("an significant" in text for text in rewordings("Is this an important town?"))


@pytest.mark.parametrize(
    ("keywords", "question"),
    [
        ("ben nevis height", "how tall is ben nevis"),
        ("kafka vs rabbitmq", "what is the difference between kafka and rabbitmq"),
        ("scurvy symptoms", "what are the symptoms of scurvy"),
        ("parse json in bash", "how do i parse json in bash"),
        ("best laptops for students", "what are the best laptops for students"),
    ],
)
def test_keywords_become_questions(keywords: str, question: str) -> None:
    """By the forms of questions that people shorten."""
    asker = Reworder(frames.read_frames(frames.WORDINGS / "questions.tsv"), {})
    asked = {asker.reword(keywords, random.Random(seed)) for seed in range(TRIES)}
    assert question in asked


def test_you_is_kept() -> None:
    """A question for what somebody does is not turned to what one can do."""
    assert rewordings("Where do you see yourself in ten years?") == {
        "In what place do you see yourself in ten years?"
    }


def test_what_fills_a_slot_stays() -> None:
    """A question for an attribute is never reworded to one for another attribute."""
    for text in rewordings("What is the population of Ghana?"):
        assert re.search(r"population|How many people", text)
        assert "Ghana" in text


@pytest.mark.parametrize("frame", FRAMES)
def test_forms_have_the_slots_that_they_need(frame: frames.Frame) -> None:
    """What is written has no slot that a form which is read lacks."""
    for read in frame.read:
        for written in frame.written:
            assert set(re.findall(r"\{.\}", written.text)) <= set(re.findall(r"\{.\}", read.text))


@pytest.mark.parametrize(
    ("question", "searches"),
    [
        ("What's the difference between a solid and a liquid?", "solid ; liquid ; solid vs liquid"),
        (
            "difference between a factory and a service in AngularJS",
            "factory in AngularJS ; service in AngularJS ; factory vs service in AngularJS",
        ),
        ("What is the difference between type 1 and type 2 diabetes?", None),
        ("What makes a difference in chess?", None),
    ],
)
def test_differences_are_split(question: str, searches: str | None) -> None:
    """Each thing has its search, but where the things may share a word."""
    split = differences.split(question)
    assert (" ; ".join(split) if split else None) == searches
