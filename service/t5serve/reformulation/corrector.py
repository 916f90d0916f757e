"""Corrects typing errors of a query before the model reads it."""

from __future__ import annotations

from t5gguf.tasks import Task
from t5serve.reformulation.english_speller import LIKELY, SURE, EnglishSpeller
from t5serve.reformulation.lexicon import Lexicon
from t5serve.reformulation.shorthand import spell_out
from t5serve.reformulation.speller import Speller


class Corrector:
    """Corrects queries as much as their task needs.

    A task that corrects has words corrected that the lexicon lacks; without a lexicon, words that
    the English language lacks. Other tasks for English queries have sure errors corrected, and what
    is typed in a hurry spelled out.

    Args:
        lexicon: words that are spelled rightly, whatever they look like.
    """

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self._speller = Speller.of(lexicon) if lexicon else None

    def correct(self, query: str, task: Task) -> str:
        """Returns the query as the task's model reads it."""
        if task.corrects and self._speller is not None:
            return self._speller.correct(query)
        if "en" not in task.languages or task.takes_document:
            return query
        speller = EnglishSpeller.load()
        if task.corrects:
            return speller.correct(query, LIKELY, self._lexicon)
        return speller.correct(spell_out(query, self._lexicon), SURE, self._lexicon)
