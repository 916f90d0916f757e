"""Typing errors: the possible misspellings of a word, and their likelihood."""

from __future__ import annotations

from string import ascii_lowercase

# Log-likelihoods of typing errors, relative to a wrong or added letter, which can be any of 26. Two
# letters can be exchanged, or one left out, in only one way; a near key is one of about eight.
EXCHANGED_LETTERS, MISSING_LETTER, NEAR_KEY = 2.0, 2.0, 1.0
MAX_LETTERS = 40  # of a word that may be misspelt
KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def score_error(word: str, term: str) -> float:
    """Returns the log-likelihood of typing a word instead of a term, in nats, up to a constant."""
    if sorted(word) == sorted(term):
        return EXCHANGED_LETTERS
    if len(word) == len(term) - 1:
        return MISSING_LETTER
    if len(word) == len(term):
        pairs = [pair for pair in zip(word, term, strict=True) if pair[0] != pair[1]]
        return NEAR_KEY if len(pairs) == 1 and are_near_keys(*pairs[0]) else 0.0
    return 0.0


def are_near_keys(letter: str, other: str) -> bool:
    """Whether two letters are neighbours on a QWERTY keyboard."""
    places = [
        (row, keys.index(key))
        for key in (letter, other)
        for row, keys in enumerate(KEYBOARD)
        if key in keys
    ]
    if len(places) < 2:
        return False
    (row, column), (other_row, other_column) = places
    return abs(row - other_row) <= 1 and abs(column - other_column) <= 1


def edit_once(word: str) -> set[str]:
    """Returns all texts with one letter of a word dropped, added, replaced or exchanged.

    None for a word of more than MAX_LETTERS letters: their size grows with the square of its own.
    """
    if len(word) > MAX_LETTERS:
        return set()
    halves = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    dropped = {a + b[1:] for a, b in halves if b}
    exchanged = {a + b[1] + b[0] + b[2:] for a, b in halves if len(b) > 1}
    replaced = {a + letter + b[1:] for a, b in halves if b for letter in ascii_lowercase}
    added = {a + letter + b for a, b in halves for letter in ascii_lowercase}
    return dropped | exchanged | replaced | added
