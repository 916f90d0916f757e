"""Compares texts: equality after folding, edit distance of words, loops."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein

ASCII_WORD = re.compile("[a-z0-9_]+")  # of a folded text
MARKS = ".,:;!?\u3002\u3001\u061f\u060c\u061b\u0964"  # also of Chinese, Arabic and Hindi
OPENING_MARKS = "\u00bf\u00a1"  # of Spanish
LONE_MARKS = frozenset("?!\u061f\u0964")  # after a space; a full stop may be a path
STRAIGHT_QUOTES = str.maketrans("\u2018\u2019\u201c\u201d", "''\"\"")
MAX_LOOP_WORDS = 32  # words of a phrase that a loop may repeat
MAX_SEARCHED_WORDS = 1_000  # words of a text that are searched for loops


def clean(text: str) -> str:
    """Collapses runs of blanks into single spaces and strips both ends."""
    return " ".join(text.split())


def fold(text: str) -> str:
    """Returns a text without differences of case, width and spaces."""
    if text.isascii():  # the same, in less time
        return clean(text.lower())
    # Case folding can undo a composition of NFKC; a second NFKC makes the result stable.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return clean(folded)


def fold_sentence(text: str) -> str:
    """Returns a text also without sentence punctuation at the ends of words.

    Other signs stay, because they make another search: `c++`, `.net`, `3.5`, `-5`, `5!`, `??`.
    """
    words = [_strip_marks(word) for word in fold(text).translate(STRAIGHT_QUOTES).split()]
    if len(words) > 1 and words[-1] in LONE_MARKS:
        words.pop()
    return " ".join(words)


def _strip_marks(word: str) -> str:
    if not any(map(str.isalnum, word)):
        return word
    bare = word.lstrip(OPENING_MARKS).rstrip(MARKS)
    is_factorial = bare[-1].isdigit() and word.rstrip(MARKS.replace("!", "")).endswith(f"{bare}!")
    return f"{bare}!" if is_factorial else bare


def plain_words(text: str) -> list[str]:
    """Splits a text into folded words and drops the characters between words."""
    folded = fold(text)
    if folded.isascii():  # the same, in less time
        return ASCII_WORD.findall(folded)
    characters = []
    in_word = False
    for c in folded:
        # Combining marks continue a word: in Hindi and other scripts they are the vowels.
        in_word = c.isalnum() or c == "_" or (in_word and unicodedata.category(c)[0] == "M")
        characters.append(c if in_word else " ")
    return "".join(characters).split()


def words(text: str) -> list[str]:
    """Splits a text into folded words, or into characters if the text has no words."""
    return plain_words(text) or list(fold(text))


def difference(left: Sequence[str], right: Sequence[str]) -> float:
    """Returns the edit distance of two word lists over the length of the longer list: 0 to 1."""
    return Levenshtein.normalized_distance(left, right)


def has_loop(words: Sequence[str]) -> bool:
    """Whether a phrase occurs twice in a row, or a phrase of one or two words three times."""
    words = words[:MAX_SEARCHED_WORDS]
    for size in range(1, min(len(words) // 2, MAX_LOOP_WORDS) + 1):
        required = size * (2 if size <= 2 else 1)  # words equal to the word `size` before
        run = 0
        for word, later in zip(words, words[size:], strict=False):
            run = run + 1 if word == later else 0
            if run == required:
                return True
    return False
