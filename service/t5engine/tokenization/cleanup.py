"""The clean-up of spaces in answers: transformers' `clean_up_tokenization_spaces`.

All functions take the text that a tokenizer's decoder joined. The clean-up only leaves out spaces.
"""

from __future__ import annotations

from collections.abc import Sequence

# In this order, each over the whole text; source: transformers 4.56.2,
# tokenization_utils_base.py, `clean_up_tokenization`. transformers 5.24 has the same.
REPLACEMENTS = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)


def clean_up(text: str) -> str:
    """Returns a whole text without the spaces before punctuation and English contractions."""
    for before, after in REPLACEMENTS:
        text = text.replace(before, after)
    return text


def clean_up_begun(text: str) -> str:
    """Returns the part of the cleaned text that stays whatever follows the text.

    Each replacement holds back the end of its text where what it replaces may begin.
    """
    for before, after in REPLACEMENTS:
        parts = text.split(before)
        text = after.join(parts)
        text = text[: len(text) - _count_begun(parts[-1], before)]
    return text


def _count_begun(text: str, pattern: str) -> int:
    """Returns how many characters at the end of a text begin a pattern."""
    sizes = range(len(pattern) - 1, 0, -1)
    return next((size for size in sizes if text.endswith(pattern[:size])), 0)


def divide(cleaned: str, parts: Sequence[str], *, final: bool) -> list[str]:
    """Returns what each part of a text has of the cleaned text.

    Of several spaces in a row the last ones are those left out, so that a part of a stream stays
    the same whatever follows.

    Args:
        cleaned: the cleaned text; the part that stays if the text is not final.
        parts: the text as it was, in parts.
        final: whether the text is whole. Otherwise the result ends before the first part that
            is not entirely in the cleaned text.
    """
    divided: list[str] = []
    end = 0
    for part in parts:
        start = end
        for character in part:
            if end < len(cleaned):
                end += character == cleaned[end]
            elif not final:
                return divided
        divided.append(cleaned[start:end])
    return divided
