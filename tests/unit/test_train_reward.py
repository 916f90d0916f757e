"""Which answers are worth learning."""

import pytest

from t5train import reward

SOURCE = "How do I learn Python in 10 days?"
REFERENCE = "What is the best way to learn Python in 10 days?"


@pytest.mark.parametrize(
    "candidate",
    [
        SOURCE,
        "How can I learn Python in 10 days?",
        "What is the best way to learn Python?",
        "What is the best way to learn Java in 10 days?",
        "What is the the best way to learn Python in 10 days?",
        "What is the best way to learn Python in 10 days",
        "",
    ],
)
def test_a_faulty_answer_is_worth_nothing(candidate: str) -> None:
    assert reward.rate(SOURCE, candidate, [REFERENCE]) == 0


def test_what_is_near_the_reference_and_far_from_the_source_is_best() -> None:
    near = "What is the best way to learn Python in 10 days?"
    far = "Is Python any good to learn within 10 days of work?"
    assert reward.best(SOURCE, [far, SOURCE, near, near], [REFERENCE], 2)[0] == near
    assert reward.best(SOURCE, [SOURCE], [REFERENCE]) == []


def test_overlap_counts_words_and_word_pairs() -> None:
    assert reward.overlap("a b c", "A, b c?") == 1.0
    assert reward.overlap("a b", "b a") == 0.5
    assert reward.overlap("a", "b") == 0.0
