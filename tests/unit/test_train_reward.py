"""Which of its own answers a model learns."""

import pytest

from t5train.reward import select_row
from t5train.shards import Request

COMPARISON = Request("search", "Which is older, Porto or Faro?", "comparisons")
WHOLE = "Porto founding date ; Faro founding date"


@pytest.mark.parametrize(
    ("beams", "origin"),
    [
        ([WHOLE], "confirmed/comparisons"),
        (["Porto founding date", WHOLE], "corrected/comparisons"),
        (
            ["Porto founding date ; Porto founding date", "Porto ; Faro ; Paris", WHOLE],
            "corrected/comparisons",
        ),
    ],
)
def test_the_likeliest_answer_without_a_fault_is_learnt(beams: list[str], origin: str) -> None:
    row = select_row(COMPARISON, beams, held_out=())
    assert row is not None
    assert (row.source, row.targets, row.origin) == (
        COMPARISON.source,
        ("Porto founding date", "Faro founding date"),
        origin,
    )


@pytest.mark.parametrize(
    ("request_", "beam"),
    [
        (COMPARISON, "Porto founding date"),
        (COMPARISON, " ; "),
        (Request("search", "Hotels in Faro without stairs", "requests"), "Hotels in Faro"),
        (Request("search", "Is Faro a port?", "requests"), "Is Faro a port"),
        (Request("paraphrase", "How old is Faro?", "requests"), "How old is Faro?"),
        (Request("question", "faro age", "keywords"), "The age of Faro"),
    ],
)
def test_a_faulty_answer_is_never_learnt(request_: Request, beam: str) -> None:
    """A lost thing, nothing, a lost negation, copies, and a question that is none."""
    assert select_row(request_, [beam], held_out=()) is None


def test_what_is_measured_is_never_learnt() -> None:
    assert select_row(COMPARISON, [WHOLE], held_out={"which is older porto or faro"}) is None
