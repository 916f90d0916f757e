"""One generation in the worker: tokenise, encode once, decode step by step."""

from __future__ import annotations

import time

from t5serve.decoding.greedy import Greedy
from t5serve.wire import Generate, Generated, Timings
from t5serve.worker.backend import Step
from t5serve.worker.model import Model
from t5serve.worker.vocabulary import SENTINEL


class InputRefused(Exception):
    """The input can't be decoded, whatever happens."""

    def __init__(self, message: str, *, too_long: bool = False) -> None:
        super().__init__(message)
        self.too_long = too_long


class Generation:
    """A job between its first and its last step."""

    def __init__(self, request: Generate, model: Model, row: int) -> None:
        """Tokenises and encodes.

        Raises:
            InputRefused: too many tokens or tokens out of range.
        """
        self.request = request
        self._model = model
        self.row = row
        started = time.perf_counter()
        ids = (request.ids or []) if request.text is None else tokenize(request.text, model)
        check_input(ids, model)
        if not 1 <= request.max_tokens <= model.backend.max_tokens:
            raise InputRefused(f"max_tokens must be 1 to {model.backend.max_tokens}")
        tokenized = time.perf_counter()
        model.backend.encode(row, ids)
        self._prompt_tokens = len(ids)
        self._tokenize = tokenized - started
        self._encode = time.perf_counter() - tokenized
        self._decode = 0.0
        self.next = model.start_token
        self._sequence = Greedy(
            eos=model.vocabulary.eos,
            suppressed=model.vocabulary.suppressed,
            max_tokens=request.max_tokens,
        )

    def accept(self, step: Step, place: int, seconds: float) -> Generated | None:
        """Takes the outcome of a step, the row's being at that place; the result after the last."""
        self.next = self._sequence.accept(
            int(step.best[place]), float(step.logprobs[place]), lambda: step.logits(place)
        )
        self._decode += seconds
        sequence = self._sequence
        if sequence.finish_reason is None:
            return None
        return Generated(
            job=self.request.job,
            text=self._model.vocabulary.decode(sequence.tokens),
            tokens=sequence.tokens,
            logprob=sequence.logprob,
            decoded=sequence.decoded,
            finish_reason=sequence.finish_reason,
            prompt_tokens=self._prompt_tokens,
            timings=Timings(*(1000 * t for t in (self._tokenize, self._encode, self._decode))),
        )

    def close(self) -> None:
        """Frees the row."""
        self._model.backend.release(self.row)


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


def check_ids(ids: list[int], model: Model) -> None:
    """Refuses ids outside the vocabulary."""
    outside = [token for token in ids if not 0 <= token < model.backend.n_vocab]
    if outside:
        raise InputRefused(
            f"token id {outside[0]} is outside the vocabulary, 0 to {model.backend.n_vocab - 1}"
        )
