"""Sends the text of a single sequence while the sequence is decoded."""

from __future__ import annotations

from collections.abc import Callable

from t5engine.messages import Progress
from t5engine.tokenization.marks import get_mark
from t5serve.reformulation.candidates import is_usable
from t5serve.reformulation.options import Options
from t5serve.reformulation.text import clean, fold_sentence

Send = Callable[[int, str], None]
"""Takes the rank of a reformulation, and the next part of its text."""


class LiveText:
    """Sends the text of one reformulation, cleaned like the final text.

    A text that equals the query is sent as the model wrote it; the result has it as it was typed.

    Attributes:
        sent: the number of reformulations that are sent as a whole.
    """

    sent = 1

    def __init__(self, send: Send) -> None:
        self._send = send
        self._text = ""

    def __call__(self, progress: Progress) -> None:
        """Sends the new part of the text."""
        sent = clean(self._text)
        self._text += progress.text
        delta = clean(self._text)[len(sent) :]
        if delta:
            self._send(1, delta)


class LivePieces:
    """Sends the queries of a list, each when the separator after it is decoded.

    Before that, a query may still become equal to an earlier one, or be cut by `max_tokens`.

    Args:
        query: the query that is reformulated.
        options: the separator, and how many queries are returned.
        send: takes each query.
    """

    def __init__(self, query: str, options: Options, send: Send) -> None:
        self._query = query
        self._mark = get_mark(options.separator)
        self._n = options.n
        self._send = send
        self._rest = ""
        self._folded: set[str] = set()

    def __call__(self, progress: Progress) -> None:
        """Sends the queries that have become complete."""
        *complete, self._rest = (self._rest + progress.text).split(self._mark)
        for text in map(clean, complete):
            folded = fold_sentence(text)
            is_new = folded not in self._folded and is_usable(text, self._query)
            if is_new and self.sent < self._n:
                self._folded.add(folded)
                self._send(self.sent, text)

    @property
    def sent(self) -> int:
        """The number of reformulations that were sent as a whole."""
        return len(self._folded)


def start_live_text(query: str, options: Options, send: Send) -> LiveText | LivePieces:
    """Returns what sends the text of a query's only sequence while it is decoded."""
    return LivePieces(query, options, send) if options.separator else LiveText(send)
