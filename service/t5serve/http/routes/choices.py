"""Choices of completions: texts, tokens and log-probabilities as OpenAI's clients read them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Literal

from t5engine.messages import Token
from t5serve.http.schemas.body import UsageBody
from t5serve.http.schemas.completions import (
    CompletionChoice,
    CompletionResponse,
    LogprobsBody,
)


class Envelope:
    """The fields that a response, or all events of a stream, have in common."""

    def __init__(self, model: str, fingerprint: str) -> None:
        self._model = model
        self._fingerprint = fingerprint
        self._id = f"cmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())

    def wrap(
        self, choices: Sequence[CompletionChoice], usage: UsageBody | None = None
    ) -> CompletionResponse:
        """Builds a response, or an event of a stream, with these choices."""
        return CompletionResponse(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=list(choices),
            system_fingerprint=self._fingerprint,
            usage=usage,
        )


class ChoiceBuilder:
    """Builds the parts of one choice, with the offsets of their tokens."""

    def __init__(self, index: int, logprobs: int | None) -> None:
        self._index = index
        self._logprobs = logprobs
        self._offset = 0  # of the next token; a token can arrive after its text

    def echo_prompt(self, parts: Sequence[str]) -> CompletionChoice:
        """Builds the part with the prompt; the encoder reads it, so it has no log-probabilities."""
        tokens = [Token(0, part, 0.0, []) for part in parts]
        body = self._describe(tokens)
        if body is not None:
            body.token_logprobs = [None] * len(parts)
            body.top_logprobs = [None] * len(parts)
        return self._part("".join(parts), body)

    def add_text(self, text: str, details: Sequence[Token] | None) -> CompletionChoice:
        """Builds the part with the next text and tokens."""
        return self._part(text, self._describe(details or []))

    def finish(self, reason: Literal["stop", "length"]) -> CompletionChoice:
        """Builds the last part, with the reason why the choice ended."""
        return CompletionChoice(text="", index=self._index, logprobs=None, finish_reason=reason)

    def _part(self, text: str, logprobs: LogprobsBody | None) -> CompletionChoice:
        return CompletionChoice(text=text, index=self._index, logprobs=logprobs, finish_reason=None)

    def _describe(self, details: Sequence[Token]) -> LogprobsBody | None:
        if self._logprobs is None:
            return None
        offsets = []
        for token in details:
            offsets.append(self._offset)
            self._offset += len(token.text)
        return LogprobsBody(
            tokens=[token.text for token in details],
            token_logprobs=[token.logprob for token in details],
            top_logprobs=[_top_logprobs(token) for token in details],
            text_offset=offsets,
        )


def _top_logprobs(token: Token) -> dict[str, float]:
    """Returns the log-probabilities of the best tokens at a position and of the chosen one."""
    top: dict[str, float] = {}
    for _, text, logprob in token.top:
        top.setdefault(text, logprob)  # best first; several ids can have one text
    top[token.text] = token.logprob
    return top


def join_logprobs(parts: Sequence[LogprobsBody]) -> LogprobsBody | None:
    """Concatenates the log-probabilities of the parts of a choice."""
    if not parts:
        return None
    return LogprobsBody(
        tokens=[token for part in parts for token in part.tokens],
        token_logprobs=[logprob for part in parts for logprob in part.token_logprobs],
        top_logprobs=[top for part in parts for top in part.top_logprobs],
        text_offset=[offset for part in parts for offset in part.text_offset],
    )
