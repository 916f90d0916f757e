"""Which answers are worth learning."""

import pytest

from t5train import reward
from t5train.reward import AnswerRater
from t5train.words import Frequencies

SOURCE = "How do I learn Python in 10 days?"
REFERENCE = "What is the best way to learn Python in 10 days?"
COUNTS = Frequencies([SOURCE] * 3 + ["python decorators"])


def rater(task: str) -> AnswerRater:
    return AnswerRater(task, COUNTS)


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
    assert rater("paraphrase").is_faulty(SOURCE, answer, [REFERENCE])
    assert rater("paraphrase").select_best(SOURCE, [answer], [REFERENCE]) is None


def test_what_is_near_the_reference_is_best() -> None:
    far = "Is Python any good to learn within 10 days of work?"
    candidates = [far, SOURCE, REFERENCE, REFERENCE]
    assert rater("paraphrase").select_best(SOURCE, candidates, [REFERENCE]) == REFERENCE


def test_of_as_good_ones_the_likeliest_is_best() -> None:
    likely, unlikely = (
        f"{start} to learn Python in 10 days?" for start in ("Best way", "Right way")
    )
    assert rater("paraphrase").select_best(SOURCE, [likely, unlikely], ["Java?"]) == likely
    assert rater("paraphrase").select_best(SOURCE, [unlikely, likely], ["Java?"]) == unlikely


def test_what_expands_a_query_keeps_its_rarest_word_and_its_numbers() -> None:
    source, references = "python decorators 10", ["What are decorators in Python 10?"]
    good = "What are Python decorators in 10?"
    for bad in ("What is Python 10?", "What are decorators?", "Python decorators 10"):
        assert rater("expand").is_faulty(source, bad, references)
        assert rater("expand").select_best(source, [bad, good], references) == good


def test_a_fix_is_right_or_wrong() -> None:
    assert rater("fix").is_faulty("pyhton", "pyhton", ["python"])
    assert not rater("fix").is_faulty("pyhton", "python", ["python"])
    assert rater("fix").select_best("pyhton", ["python"], ["python"]) == "python"


def test_overlap_counts_words_and_word_pairs() -> None:
    assert reward.overlap_f1("a b c", "A, b c?") == 1.0
    assert reward.overlap_f1("a b", "b a") == 0.5
    assert reward.overlap_f1("a", "b") == 0.0
