"""One generation in the worker: tokenise, encode once, decode step by step."""

from __future__ import annotations

import time
from collections.abc import Sequence

from t5engine.decoding.logprobs import F32
from t5engine.decoding.parameters import GenerationConfig
from t5engine.decoding.search import Branch, Hypothesis
from t5engine.decoding.stops import Stops
from t5engine.decoding.strategy import start_search
from t5engine.messages import Generate, Generated, Output, Progress, Timings, Token
from t5engine.worker import prompt_lookup as lookup
from t5engine.worker.model import Model
from t5engine.worker.vocabulary import SENTINEL


class InputRefused(Exception):
    """The input can't be decoded, whatever happens."""

    def __init__(self, message: str, *, too_long: bool = False) -> None:
        super().__init__(message)
        self.too_long = too_long


class Generation:
    """A job between its first and its last step.

    Attributes:
        rows: of the backend, one for each running sequence.
        tokens: what each of them is fed next.
    """

    def __init__(self, request: Generate, model: Model, row: int) -> None:
        """Tokenises and encodes.

        Raises:
            InputRefused: too many tokens or tokens out of range.
        """
        self.request = request
        self._model = model
        self._started = time.perf_counter()
        ids = (request.ids or []) if request.text is None else tokenize(request.text, model)
        check_input(ids, model)
        check_config(request.config, model)
        tokenized = time.perf_counter()
        model.backend.encode(row, ids)
        self._ids = ids
        self._tokenize = tokenized - self._started
        self._encode = time.perf_counter() - tokenized
        self._decode = 0.0
        self._batch = 0
        self._drafted = 0
        self._drafts_kept = 0
        self.rows = [row]
        self.tokens = [model.start_token]
        self._stops = Stops(request.stop)
        self._search = start_search(
            request.config,
            start=model.start_token,
            eos=model.vocabulary.eos,
            suppressed=model.vocabulary.suppressed,
            should_stop=self._ends if self._stops else None,
        )
        self._sent: dict[int, tuple[int, int]] = {}
        """Of each streamed sequence: characters and tokens that have been sent."""

    @property
    def width(self) -> int:
        """Sequences that it may come to decode at once."""
        return self.request.config.width

    @property
    def decoded(self) -> int:
        """Tokens of its first sequence so far."""
        return len(self._search.settled[0].choices)

    def draft(self, count: int) -> list[int]:
        """What its only sequence may go on with after the next token.

        Returns:
            `count` ids, so that all steps with a draft have one shape; or none, if there is
            nothing to go by, no room for all, or more than one sequence.
        """
        if not count or self.width > 1:
            return []
        room = self._model.backend.max_tokens - self.decoded - 1
        left = self.request.config.max_tokens - self.decoded - 1
        if count > room or not left:
            return []
        tokens = self._search.settled[0].tokens
        found = lookup.draft(self._ids, tokens, count)
        return [*found, *[self._model.vocabulary.eos] * (count - len(found))] if found else []

    def accept(self, logits: Sequence[F32]) -> list[Branch]:
        """Takes the logits after a token, in the order of the rows; how its sequences go on."""
        return self._search.advance(logits)

    def stepped(self, seconds: float, batch: int, *, drafted: int, kept: int) -> None:
        """Counts a step.

        Args:
            seconds: that it took.
            batch: sequences in it.
            drafted: tokens that were fed besides the next one.
            kept: of which so many were what the search chose.
        """
        self._decode += seconds
        self._batch = max(self._batch, batch)
        self._drafted += drafted
        self._drafts_kept += kept

    def progress(self) -> list[Progress]:
        """What has been settled since the last time, if it is streamed."""
        if not self.request.stream:
            return []
        news = (self._news(i, one) for i, one in enumerate(self._search.settled))
        return [one for one in news if one is not None]

    def outcome(self) -> Generated:
        """The result, once no sequence goes on."""
        return Generated(
            job=self.request.job,
            outputs=[self._output(one) for one in self._search.settled],
            prompt_tokens=len(self._ids),
            timings=Timings(
                tokenize=1000 * self._tokenize,
                encode=1000 * self._encode,
                decode=1000 * self._decode,
                total=1000 * (time.perf_counter() - self._started),
            ),
            batch=self._batch,
            drafted=self._drafted,
            drafts_kept=self._drafts_kept,
        )

    def _ends(self, tokens: Sequence[int]) -> bool:
        return self._stops.matches(self._model.vocabulary.decode(tokens, final=False))

    def _text(self, one: Hypothesis) -> str:
        """The text that is settled; all of it when the sequence is over."""
        if one.finish_reason is None:
            return self._stops.settled(self._model.vocabulary.decode(one.tokens, final=False))
        return self._stops.cut(self._model.vocabulary.decode(one.tokens))

    def _output(self, one: Hypothesis) -> Output:
        text = self._text(one)
        return Output(
            text=text,
            tokens=one.tokens,
            logprob=one.logprob,
            decoded=len(one.choices),
            score=one.score,
            finish_reason=one.finish_reason or "length",
            details=self._details(one, text),
        )

    def _news(self, index: int, one: Hypothesis) -> Progress | None:
        characters, count = self._sent.get(index, (0, 0))
        text = self._text(one)
        details = self._details(one, text, count)
        if len(text) == characters and not details:
            return None
        self._sent[index] = (len(text), count + len(details or ()))
        return Progress(self.request.job, index, text[characters:], details)

    def _details(self, one: Hypothesis, text: str, skip: int = 0) -> list[Token] | None:
        """The tokens that make up a text, each with its part of it; not the first ones to skip."""
        if self.request.config.top_logprobs is None:
            return None
        over = one.finish_reason is not None
        vocabulary = self._model.vocabulary
        parts = vocabulary.texts(one.tokens, final=over)
        if not over and parts and vocabulary.texts(one.tokens)[-1] != parts[-1]:
            parts.pop()  # its text depends on whether the sequence ends with it
        details: list[Token] = []
        start = 0
        # The last choice may be `</s>`, which has no part.
        for place, (choice, part) in enumerate(zip(one.choices, parts, strict=False)):
            end = start + len(part)
            if end > len(text) and (start >= len(text) or not over):
                break
            if place >= skip:
                top = [
                    (token, vocabulary.text(token, first=place == 0), logprob)
                    for token, logprob in choice.top
                ]
                details.append(Token(choice.token, text[start:end], choice.logprob, top))
            start = end
        return details


def tokenize(text: str, model: Model) -> list[int]:
    """Token ids of a text, unless it is clear beforehand that they are too many.

    llama.cpp cuts out sentinels in time that grows with the square of their number.
    """
    limit = model.backend.max_input_tokens
    sentinels = text.count(SENTINEL)
    if sentinels > limit:
        raise InputRefused(
            f"the input has over {sentinels} tokens, at most {limit} are taken", too_long=True
        )
    return model.vocabulary.encode(text)


def check_input(ids: list[int], model: Model) -> None:
    """Refuses encoder inputs that the backend can't take, before it sees them."""
    limit = model.backend.max_input_tokens
    if not ids:
        raise InputRefused("the input has no tokens")
    if len(ids) > limit:
        raise InputRefused(
            f"the input has {len(ids)} tokens, at most {limit} are taken", too_long=True
        )
    check_ids(ids, model)


def check_config(config: GenerationConfig, model: Model) -> None:
    """Refuses what the backend can't decode, and biases of tokens that do not exist."""
    backend = model.backend
    if not 1 <= config.max_tokens <= backend.max_tokens:
        raise InputRefused(f"max_tokens must be 1 to {backend.max_tokens}")
    if config.width > backend.rows:
        raise InputRefused(f"at most {backend.rows} sequences are decoded at once")
    check_ids(list(config.logit_bias), model)


def check_ids(ids: list[int], model: Model) -> None:
    """Refuses ids outside the vocabulary."""
    outside = [token for token in ids if not 0 <= token < model.backend.n_vocab]
    if outside:
        raise InputRefused(
            f"token id {outside[0]} is outside the vocabulary, 0 to {model.backend.n_vocab - 1}"
        )
