"""Tokens that were added to a vocabulary after its training, and texts split at them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntFlag
from functools import cached_property


class AddedFlag(IntFlag):
    """The properties of an added token, as a GGUF file stores them.

    Attributes:
        SPECIAL: the token is generated, and left out of the text.
        NORMALIZED: the token is found in the normalised text, not in the text as it came.
        LSTRIP: the token takes the whitespace before it.
        RSTRIP: the token takes the whitespace after it.
        SINGLE_WORD: the token is found only between characters that are not of a word.
    """

    SPECIAL = 1
    NORMALIZED = 2
    LSTRIP = 4
    RSTRIP = 8
    SINGLE_WORD = 16


NO_FLAGS = AddedFlag(0)


@dataclass(frozen=True)
class AddedToken:
    """A token that texts are split at before they are segmented into pieces."""

    id: int
    text: str
    flags: AddedFlag = NO_FLAGS


class Splitter:
    """Splits texts at added tokens; of tokens that begin alike, the longest is taken.

    The rules are those of Hugging Face's `tokenizers` (added_vocabulary.rs, find_matches).
    """

    def __init__(self, tokens: Sequence[AddedToken]) -> None:
        self._tokens = {token.text: token for token in tokens}

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        longest_first = sorted(self._tokens, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first)))

    def is_in(self, text: str) -> bool:
        """Whether a text may contain an added token."""
        return bool(self._tokens) and self._pattern.search(text) is not None

    def split(self, text: str) -> Iterator[tuple[int, str | int]]:
        """Yields the parts of a text in order: where each begins, and its text or its token's id.

        Parts without text are left out.
        """
        start = 0
        for match in self._pattern.finditer(text) if self._tokens else ():
            token = self._tokens[match.group()]
            begin, end = match.span()
            if AddedFlag.SINGLE_WORD in token.flags and not _is_single_word(text, begin, end):
                continue
            if AddedFlag.LSTRIP in token.flags:
                begin = max(start, len(text[:begin].rstrip()))
            if AddedFlag.RSTRIP in token.flags:
                end += len(text[end:]) - len(text[end:].lstrip())
            if start < begin:
                yield start, text[start:begin]
            yield begin, token.id
            start = end
        if start < len(text):
            yield start, text[start:]


def _is_single_word(text: str, begin: int, end: int) -> bool:
    return not re.search(r"\w$", text[:begin]) and not re.match(r"\w", text[end:])
