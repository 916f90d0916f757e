"""Strings at which a sequence ends, wherever tokens begin and end."""

from __future__ import annotations

from collections.abc import Sequence


class Stops:
    """The stop strings of one generation."""

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = [string for string in strings if string]

    def __bool__(self) -> bool:
        return bool(self._strings)

    def found(self, text: str) -> bool:
        """Whether a stop string is in the text."""
        return any(string in text for string in self._strings)

    def cut(self, text: str) -> str:
        """The text up to the first stop string."""
        return text[: min((text.find(s) for s in self._strings if s in text), default=None)]

    def settled(self, text: str) -> str:
        """What is sure to stay if more text follows: nothing that may begin a stop string."""
        if self.found(text):
            return self.cut(text)
        held = 0
        for string in self._strings:
            for size in range(min(len(string) - 1, len(text)), held, -1):
                if text.endswith(string[:size]):
                    held = size
                    break
        return text[: len(text) - held]
