"""One generation in the worker: tokenise, encode once, decode step by step."""

from __future__ import annotations

import time
from collections.abc import Sequence

from t5engine.decoding.independent import Independent
from t5engine.decoding.logprobs import F32
from t5engine.decoding.parameters import GenerationConfig
from t5engine.decoding.search import Branch, Choice, Hypothesis
from t5engine.decoding.stops import Stops
from t5engine.decoding.strategy import start_search
from t5engine.graph.greedy import GreedyRun
from t5engine.messages import Cut, Generate, Generated, Output, Progress, Timings, Token
from t5engine.truncation import TruncationError, Truncator
from t5engine.worker import prompt_lookup
from t5engine.worker.model import Model
from t5engine.worker.vocabulary import SENTINEL


class InputRefused(Exception):
    """The input can never be decoded; retries are useless."""

    def __init__(self, message: str, *, too_long: bool = False) -> None:
        super().__init__(message)
        self.too_long = too_long


class Generation:
    """A job between its first and its last step.

    Attributes:
        request: the message that asked for the generation.
        rows: the backend's row of each running sequence; empty once the generation is over.
        tokens: the next decoder input of each running sequence.
    """

    def __init__(self, request: Generate, model: Model, row: int) -> None:
        """Tokenises the input and encodes it in a row.

        Raises:
            InputRefused: the input has too many tokens, or tokens out of range.
        """
        self.request = request
        self._model = model
        self._started = time.perf_counter()
        ids = request.ids or []
        if request.text is not None:
            ids = tokenize(request.text, model, request.cut)
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
            should_stop=self._has_stop if self._stops else None,
            arithmetic=model.arithmetic,
        )
        self._sent: dict[int, tuple[int, int]] = {}
        """Characters and tokens sent so far, by index of the streamed sequence."""

    @property
    def width(self) -> int:
        """The most sequences that the generation decodes at once."""
        return self.request.config.width

    @property
    def input_length(self) -> int:
        """Number of the encoder's input ids."""
        return len(self._ids)

    @property
    def decoded(self) -> int:
        """Number of tokens of the first sequence so far."""
        return len(self._search.settled[0].choices)

    def draft(self, count: int) -> list[int]:
        """Drafts the tokens that follow the next token of a single sequence.

        Returns:
            `count` ids, so that all steps with a draft have the same shape. None if the input has
            no match, if there is no room for `count` ids, or with more than one sequence.
        """
        if not count or self.width > 1:
            return []
        room = self._model.backend.max_tokens - self.decoded - 1
        remaining = self.request.config.max_tokens - self.decoded - 1
        if count > room or not remaining:
            return []
        tokens = self._search.settled[0].tokens
        draft = prompt_lookup.draft(self._ids, tokens, count)
        return [*draft, *[self._model.vocabulary.eos] * (count - len(draft))] if draft else []

    def run_greedily(self, drafts: int, descriptor: int) -> tuple[GreedyRun, list[Branch]] | None:
        """Decodes several tokens of a lone sequence in row 0, if nothing has to be done between.

        Returns:
            What was decoded, and the sequence if it continues. None: a step as usual is needed.
        """
        greedy, search = self._model.greedy, self._search
        if greedy is None or self.request.stream or self.width > 1 or self.rows != [0]:
            return None
        if not isinstance(search, Independent) or not search.only_takes_most_likely:
            return None
        config = self.request.config
        run = greedy.run(
            self._ids,
            search.settled[0].tokens,
            config.max_tokens,
            bias=config.logit_bias,
            drafts=drafts,
            descriptor=descriptor,
        )
        if not run.choices:
            return None
        return run, search.accept([Choice(*choice) for choice in run.choices])

    def choose_tokens(self, logits: Sequence[F32]) -> list[Branch]:
        """Chooses the next tokens, given the logits of each running sequence, (n_vocab,).

        Returns:
            The sequences that continue; none once the generation is over.
        """
        return self._search.advance(logits)

    def record_step(self, seconds: float, batch: int, *, drafted: int, kept: int) -> None:
        """Records a step for the statistics of the outcome.

        Args:
            seconds: duration of the step.
            batch: sequences in the step.
            drafted: tokens that were fed in addition to the next one.
            kept: drafted tokens that the search chose.
        """
        self._decode += seconds
        self._batch = max(self._batch, batch)
        self._drafted += drafted
        self._drafts_kept += kept

    def collect_progress(self) -> list[Progress]:
        """Returns the text settled since the last call, if the job is streamed."""
        if not self.request.stream:
            return []
        messages = (
            self._build_progress(index, hypothesis)
            for index, hypothesis in enumerate(self._search.settled)
        )
        return [message for message in messages if message is not None]

    def build_outcome(self) -> Generated:
        """Returns the result, once no sequence continues."""
        return Generated(
            job=self.request.job,
            outputs=[self._build_output(hypothesis) for hypothesis in self._search.settled],
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

    def _has_stop(self, tokens: Sequence[int]) -> bool:
        is_last = len(tokens) == self.request.config.max_tokens
        return self._stops.matches(self._model.vocabulary.decode(tokens, final=is_last))

    def _settled_text(self, hypothesis: Hypothesis) -> str:
        """Returns the text that can no longer change: all of it when the sequence is over."""
        if hypothesis.finish_reason is None:
            text = self._model.vocabulary.decode(hypothesis.tokens, final=False)
            return self._stops.settled(text)
        return self._stops.cut(self._model.vocabulary.decode(hypothesis.tokens))

    def _build_output(self, hypothesis: Hypothesis) -> Output:
        text = self._settled_text(hypothesis)
        return Output(
            text=text,
            tokens=hypothesis.tokens,
            logprob=hypothesis.logprob,
            decoded=len(hypothesis.choices),
            score=hypothesis.score,
            finish_reason=hypothesis.finish_reason or "length",
            details=self._build_details(hypothesis, text),
        )

    def _build_progress(self, index: int, hypothesis: Hypothesis) -> Progress | None:
        sent_characters, sent_tokens = self._sent.get(index, (0, 0))
        text = self._settled_text(hypothesis)
        details = self._build_details(hypothesis, text, sent_tokens)
        if len(text) == sent_characters and not details:
            return None
        self._sent[index] = (len(text), sent_tokens + len(details or ()))
        return Progress(self.request.job, index, text[sent_characters:], details)

    def _build_details(
        self, hypothesis: Hypothesis, text: str, skip: int = 0
    ) -> list[Token] | None:
        """Returns the tokens that make up a text, each with its part, without the first `skip`."""
        if self.request.config.top_logprobs is None:
            return None
        is_over = hypothesis.finish_reason is not None
        vocabulary = self._model.vocabulary
        parts = vocabulary.decode_parts(hypothesis.tokens, final=is_over)
        details: list[Token] = []
        start = 0
        # The last choice may be `</s>`, which has no text.
        for index, (choice, part) in enumerate(zip(hypothesis.choices, parts, strict=False)):
            end = start + len(part)
            if end > len(text) and (start >= len(text) or not is_over):
                break
            if index >= skip:
                # The clean-up depends on a token's neighbours: the chosen one keeps its part.
                shown = {choice.token: text[start:end]} if vocabulary.cleans_up_spaces else {}
                top = [
                    (
                        token,
                        shown.get(token, vocabulary.decode_token(token, is_first=index == 0)),
                        logprob,
                    )
                    for token, logprob in choice.top
                ]
                details.append(Token(choice.token, text[start:end], choice.logprob, top))
            start = end
        return details


def tokenize(text: str, model: Model, cut: Cut | None = None) -> list[int]:
    """Returns the token ids of a text, unless its sentinels alone are too many.

    llama.cpp's time to parse sentinels grows with the square of their number.

    Args:
        text: the encoder's input.
        model: the model whose input it is.
        cut: the range of the text that is shortened if the text has too many tokens for the
            backend; None: the text is not shortened, and may have too many tokens.

    Raises:
        InputRefused: the text has more sentinels than the backend takes tokens, or it is too long
            without the range.
    """
    limit = model.backend.max_input_tokens
    whole = text if cut is None else text[: cut.start] + text[cut.end :]
    sentinels = whole.count(SENTINEL)
    if sentinels > limit:
        raise InputRefused(
            f"the input has over {sentinels} tokens, at most {limit} are allowed", too_long=True
        )
    vocabulary = model.vocabulary
    if cut is None:
        return vocabulary.encode(text)
    truncator = Truncator(vocabulary.encode, vocabulary.decode_all, limit)
    try:
        return truncator.shorten(text, cut)
    except TruncationError as error:
        raise InputRefused(str(error), too_long=error.too_long) from error


def check_input(ids: list[int], model: Model) -> None:
    """Raises InputRefused for encoder inputs that the backend can't take."""
    limit = model.backend.max_input_tokens
    if not ids:
        raise InputRefused("the input has no tokens")
    if len(ids) > limit:
        raise InputRefused(
            f"the input has {len(ids)} tokens, at most {limit} are allowed", too_long=True
        )
    check_ids(ids, model)


def check_config(config: GenerationConfig, model: Model) -> None:
    """Raises InputRefused for parameters that the backend can't use, and biases of unknown ids."""
    backend = model.backend
    if not 1 <= config.max_tokens <= backend.max_tokens:
        raise InputRefused(f"max_tokens must be 1 to {backend.max_tokens}")
    if config.width > backend.rows:
        raise InputRefused(f"at most {backend.rows} sequences are decoded at once")
    check_ids(list(config.logit_bias), model)


def check_ids(ids: list[int], model: Model) -> None:
    """Raises InputRefused for ids outside the vocabulary."""
    outside = [token for token in ids if not 0 <= token < model.backend.n_vocab]
    if outside:
        raise InputRefused(
            f"token id {outside[0]} is outside the vocabulary, 0 to {model.backend.n_vocab - 1}"
        )
