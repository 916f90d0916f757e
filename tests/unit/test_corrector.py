"""How much of a query is corrected depends on the task, and never touches the lexicon's words."""

from __future__ import annotations

import pytest

from t5gguf.tasks import Task
from t5serve.reformulation.corrector import Corrector
from t5serve.reformulation.lexicon import EMPTY, Lexicon

SEARCH = Task(template="search: {query}", languages=["en"])
FIX = Task(template="fix: {query}", languages=["en"], corrects=True)
ANY_LANGUAGE = Task(template="search: {query}")
TYPED = "my conection wont start bc dell moniter"  # codespell:ignore


@pytest.mark.parametrize(
    ("task", "corrected"),
    [
        (SEARCH, "my connection won't start bc dell moniter"),
        (FIX, "my connection wont start bc dell monster"),  # codespell:ignore
        (ANY_LANGUAGE, TYPED),
    ],
)
def test_tasks_are_corrected_as_much_as_they_need(task: Task, corrected: str) -> None:
    """Shorthand and sure errors for rewording, likely errors for correcting, else nothing."""
    assert Corrector(EMPTY).correct(TYPED, task) == corrected


def test_words_of_the_lexicon_stay() -> None:
    """Both misspelt words and shorthand."""
    corrector = Corrector(Lexicon({"conection": 3, "wont": 2}))  # codespell:ignore
    assert corrector.correct(TYPED, SEARCH) == TYPED
