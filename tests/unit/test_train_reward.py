"""Which answers are worth learning."""

import pytest

from t5train import reward

SOURCE = "How do I learn Python in 10 days?"
REFERENCE = "What is the best way to learn Python in 10 days?"


@pytest.mark.parametrize(
    "answer",
    [
        SOURCE,
        "How do I learn python in 10 days?",
        "What is the best way to learn Python?",
        "What is the best way to learn Java in 10 days?",
        "What is the the best way to learn Python in 10 days?",
        "What is the best way to learn Python in 10 days",
        "",
    ],
)
def test_a_faulty_answer_is_never_learnt(answer: str) -> None:
    assert reward.is_faulty(SOURCE, answer)
    assert reward.best(SOURCE, [answer], [REFERENCE]) is None


def test_what_is_near_the_reference_is_best() -> None:
    far = "Is Python any good to learn within 10 days of work?"
    assert reward.best(SOURCE, [far, SOURCE, REFERENCE, REFERENCE], [REFERENCE]) == REFERENCE


def test_of_as_good_ones_the_likeliest_is_best() -> None:
    one, other = (f"{start} to learn Python in 10 days?" for start in ("Best way", "Right way"))
    assert reward.best(SOURCE, [one, other], []) == one
    assert reward.best(SOURCE, [other, one], []) == other


def test_overlap_counts_words_and_word_pairs() -> None:
    assert reward.overlap("a b c", "A, b c?") == 1.0
    assert reward.overlap("a b", "b a") == 0.5
    assert reward.overlap("a", "b") == 0.0
