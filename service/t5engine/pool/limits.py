"""Limits on the characters of inputs, which are known before a worker has tokenised them."""

from __future__ import annotations

from collections.abc import Sequence

from t5engine.errors import InputTooLong, InvalidInput
from t5engine.messages import Cut
from t5engine.truncation import CHARACTERS_PER_TOKEN as CHARACTERS_PER_TOKEN_READ
from t5engine.truncation import TruncationError, trim

CHARACTERS_PER_TOKEN = 8  # twice the average of English


class InputLimits:
    """Refuses or shortens texts that have too many characters to have few enough tokens.

    Args:
        max_input_tokens: the most tokens of an input.

    Attributes:
        max_characters: the most characters of an input that is not shortened.
    """

    def __init__(self, max_input_tokens: int) -> None:
        self._max_input_tokens = max_input_tokens
        # A run of unknown characters is one token however long it is.
        self.max_characters = CHARACTERS_PER_TOKEN * max_input_tokens

    def fit(self, text: str) -> str:
        """Returns the text, with blanks collapsed if it is long; refuses one that is too long.

        The tokeniser collapses blanks too, so a run of blanks counts as one character.

        Raises:
            InputTooLong: the text has too many characters to have few enough tokens.
        """
        if len(text) > self.max_characters:
            text = " ".join(text.split())
        if len(text) > self.max_characters:
            raise InputTooLong(
                f"the input has {len(text)} characters, at most {self.max_characters} are allowed"
            )
        return text

    def fit_turns(self, turns: Sequence[str]) -> tuple[str, ...]:
        """Returns the last turns of a conversation, without characters that no worker would read.

        Args:
            turns: oldest first.
        """
        room = CHARACTERS_PER_TOKEN_READ * self._max_input_tokens
        kept: list[str] = []
        for turn in reversed(turns):
            if room <= 0:
                break
            kept.append(turn[-room:])
            room -= len(turn)
        return tuple(reversed(kept))

    def trim(self, text: str, cut: Cut) -> tuple[str, Cut]:
        """Returns a text and its cut, without characters that no worker would read.

        Raises:
            InputTooLong: the text is too long without the range that may be cut.
            InvalidInput: the cut does not belong to the text.
        """
        self.fit(text[: cut.start] + text[cut.end :])
        try:
            return trim(text, cut, self._max_input_tokens)
        except TruncationError as error:
            raise InvalidInput(str(error)) from error
