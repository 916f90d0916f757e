"""Judgements in the worker: the logits of two tokens after one decoder step."""

from __future__ import annotations

import time
from collections.abc import Sequence

from t5engine.backend import BackendError, is_poisoned
from t5engine.messages import Failed, FromWorker, Judge, Judged, Timings
from t5engine.worker.job import InputRefused, check_ids, check_input, tokenize
from t5engine.worker.model import Model


class Judgement:
    """A job whose input is encoded, and which waits for its only step.

    Attributes:
        request: the message that asked for the judgement.
        rows: the backend's row of the input, until the step.
        tokens: the decoder input.
    """

    def __init__(self, request: Judge, model: Model, row: int) -> None:
        """Tokenises the input and encodes it in a row.

        Raises:
            InputRefused: the input has too many tokens, or the vocabulary lacks a token.
        """
        self.request = request
        self._started = time.perf_counter()
        self._ids = [_find_token(token, model) for token in (request.positive, request.negative)]
        ids = tokenize(request.text, model, request.cut)
        check_input(ids, model)
        tokenized = time.perf_counter()
        model.backend.encode(row, ids, is_single_step=True)
        self._tokenize = tokenized - self._started
        self._encode = time.perf_counter() - tokenized
        self.input_length = len(ids)
        self.rows = [row]
        self.tokens = [model.start_token]

    def build_outcome(self, positive: float, negative: float, step: float, batch: int) -> Judged:
        """Returns the result.

        Args:
            positive: the logit of the positive token.
            negative: the logit of the negative token.
            step: seconds of the step.
            batch: inputs in the step.
        """
        return Judged(
            job=self.request.job,
            positive_logit=positive,
            negative_logit=negative,
            prompt_tokens=self.input_length,
            timings=Timings(
                tokenize=1000 * self._tokenize,
                encode=1000 * self._encode,
                decode=1000 * step,
                total=1000 * (time.perf_counter() - self._started),
            ),
            batch=batch,
        )

    @property
    def token_ids(self) -> Sequence[int]:
        """The ids of both tokens."""
        return self._ids


def judge(model: Model, judgements: Sequence[Judgement]) -> list[FromWorker]:
    """Runs one decoder step over judgements, and releases their rows.

    Returns:
        The messages for the service.
    """
    rows = [row for judgement in judgements for row in judgement.rows]
    tokens = [token for judgement in judgements for token in judgement.tokens]
    started = time.perf_counter()
    messages: list[FromWorker] = []
    try:
        logits = model.backend.step(rows, tokens)
        seconds = time.perf_counter() - started
        for judgement, row_logits in zip(judgements, logits, strict=True):
            if is_poisoned(row_logits):
                message = "the model's numbers overflow on this input"
                messages.append(Failed(judgement.request.job, message))
            else:
                positive, negative = (float(row_logits[token]) for token in judgement.token_ids)
                messages.append(judgement.build_outcome(positive, negative, seconds, len(rows)))
    except BackendError as error:
        messages = [Failed(judgement.request.job, str(error)) for judgement in judgements]
    for row in rows:
        model.backend.release(row)
    return messages


def _find_token(token: int | str, model: Model) -> int:
    """Returns the id of a token.

    Raises:
        InputRefused: the vocabulary lacks the token.
    """
    if isinstance(token, int):
        check_ids([token], model)
        return token
    token_id = model.vocabulary.find_piece(token)
    if token_id is None:
        raise InputRefused(f"the vocabulary has no token {token!r}")
    return token_id
