"""Words, filters and the well-formedness rater of the training data."""

import random

import pytest

from t5train import filters, noise
from t5train.well_formedness import QuestionRater
from t5train.words import Frequencies, content, names, normal, numbers, similarity


def test_a_text_has_its_content_words_numbers_and_names() -> None:
    text = "How do I learn C++ in 10 days at MIT, don't you know?"
    assert content(text) == ["learn", "c++", "10", "days", "mit", "know"]
    assert numbers(text) == {"10"}
    assert names(text) == {"C++", "MIT"}


def test_case_and_punctuation_make_no_other_text() -> None:
    assert normal("What is RAG?") == normal("what  is rag")
    assert similarity("What is RAG?", "what is rag") == 1.0
    assert similarity("cook rice", "boil rice") == pytest.approx(1 / 3)


def test_the_rarest_word_is_a_content_word() -> None:
    frequencies = Frequencies(["how to cook rice", "how to cook", "cook"])
    assert frequencies.rarest("how to cook rice") == "rice"
    assert frequencies.rarest("how to") is None


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("How do I cook rice?", "What is the way to cook rice well?", None),
        ("How do I cook rice?", "how do i cook rice", "near-copy"),
        ("How do I cook rice?", "Why is the sky blue?", "nothing shared"),
        ("How do I lose 20 pounds?", "What is a way to lose pounds?", "numbers"),
        ("What is life in Paris like?", "How is life there?", "name lost"),
        ("How is life there?", "What is life in Paris like?", "name invented"),
        ("rice", "How do I cook rice?", "length"),
        ("cook rice", "What are all the good ways to cook rice at home?", "longer by far"),
    ],
)
def test_a_pair_that_would_teach_a_fault_is_refused(
    source: str, target: str, reason: str | None
) -> None:
    assert filters.find_fault(source, target) == reason


def test_the_rater_learns_what_people_rated() -> None:
    good = [(f"What is the price of {thing}?", 1.0) for thing in ("rice", "tea", "salt", "oil")]
    bad = [(f"{thing} price what", 0.0) for thing in ("rice", "tea", "salt", "oil")]
    rater = QuestionRater(good + bad)
    assert rater.rate("What is the price of gold?") > 0.5 > rater.rate("gold price what")


def test_noise_repeats_itself_for_a_seed_and_says_when_it_did_nothing() -> None:
    text = "What is the best way to cook rice in 2016?"
    first = [noise.add_fault(text, random.Random(seed)) for seed in range(300)]
    assert first == [noise.add_fault(text, random.Random(seed)) for seed in range(300)]
    assert 0.2 < sum(faulty == text for faulty in first) / 300 < 0.5
    assert all(noise.add_fault(text, random.Random(seed), clean=1) == text for seed in range(9))


def test_a_typo_changes_one_word_by_one_letter() -> None:
    for seed in range(200):
        faulty = noise.add_typos("androgen receptor", random.Random(seed)).split()
        same = [word in {"androgen", "receptor"} for word in faulty]
        assert len(faulty) == 2
        assert any(same)
        assert all(abs(len(word) - 8) <= 1 for word in faulty)


@pytest.mark.parametrize(
    ("verb", "gerund"),
    [
        *(("make", "making"), ("get", "getting"), ("be", "being"), ("see", "seeing")),
        *(("tie", "tying"), ("fix", "fixing"), ("play", "playing"), ("do", "doing")),
    ],
)
def test_a_question_becomes_a_title(verb: str, gerund: str) -> None:
    question = f"How can I {verb} it at home?"
    assert noise.to_title(question) == f"{verb.capitalize()} it at home"
    assert noise.to_title(question, gerund=True) == f"{gerund.capitalize()} it at home"
    assert noise.to_title("Why is it so?", gerund=True) == "It so"


def test_heavy_noise_keeps_names_numbers_and_other_content() -> None:
    text = "what is the cost of a BMW 320 in India"
    for seed in range(50):
        scrambled = set(noise.scramble(text, random.Random(seed)).split())
        assert {"BMW", "320"} <= scrambled


def test_keywords_are_never_made_from_sentences() -> None:
    """A lower-case query stays one: only the letters of its words may differ."""
    for seed in range(200):
        faulty = noise.add_fault("treatment varicose veins", random.Random(seed))
        assert "?" not in faulty
        assert not set(faulty.split()) & set(noise.REPAIRS)


@pytest.mark.parametrize("text", ["a", "ab", "?", "12345", "What?"])
def test_the_shortest_texts_survive_noise(text: str) -> None:
    for seed in range(50):
        rng = random.Random(seed)
        assert noise.add_fault(text, rng)
        assert noise.scramble(text, rng)


def test_masked_spans_leave_the_rest_in_order() -> None:
    tokens = list(range(10, 60))
    masked = noise.mask_spans(tokens, 2, random.Random(3))
    unmasked = [token for token in masked if token != 2]
    assert 2 in masked
    assert unmasked == sorted(unmasked)
    assert set(unmasked) < set(tokens)
    for seed in range(50):
        assert 2 in noise.mask_spans([7, 8], 2, random.Random(seed))
        assert noise.mask_spans([7], 2, random.Random(seed))
