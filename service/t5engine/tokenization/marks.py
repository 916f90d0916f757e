"""Marks: the text that stands between the queries of an answer that has several."""

from __future__ import annotations

from collections.abc import Iterable

from t5engine.tokenization.tokenizer import SPACE

SEPARATOR_KEY = "t5serve.separator."  # then the name of a task


def get_mark(separator: str) -> str:
    """Returns a separator without the blanks around it, which pieces of a vocabulary lack."""
    return separator.strip(" ")


def has_mark(pieces: Iterable[str], separator: str) -> bool:
    """Whether a separator's mark is one of the pieces, with or without a space.

    A mark that several pieces spell could begin in the middle of a word, and a character that no
    piece has is never generated.

    Args:
        pieces: the texts of the tokens that are generated and shown, with U+2581 for spaces.
        separator: the text between two queries.
    """
    mark = get_mark(separator)
    return any(piece.replace(SPACE, " ").strip(" ") == mark for piece in pieces)
