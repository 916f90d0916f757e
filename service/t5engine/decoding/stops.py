"""Strings at which a sequence ends. They need not begin or end where a token does."""

from __future__ import annotations

from collections.abc import Sequence


class Stops:
    """The stop strings of one generation."""

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = [string for string in strings if string]

    def __bool__(self) -> bool:
        return bool(self._strings)

    def matches(self, text: str) -> bool:
        """Whether the text contains a stop string."""
        return any(string in text for string in self._strings)

    def cut(self, text: str) -> str:
        """Returns the text up to the first stop string."""
        starts = (text.find(string) for string in self._strings if string in text)
        return text[: min(starts, default=None)]

    def settled(self, text: str) -> str:
        """Returns the part of the text that stays whatever follows.

        The end of the text is held back while a stop string may begin there.
        """
        if self.matches(text):
            return self.cut(text)
        held_size = 0
        for string in self._strings:
            for size in range(min(len(string) - 1, len(text)), held_size, -1):
                if text.endswith(string[:size]):
                    held_size = size
                    break
        return text[: len(text) - held_size]
