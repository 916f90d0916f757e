"""Greedy decoding: the most likely token each time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]


def log_sum_exp(logits: F32) -> float:
    """Ln of the sum of exp, over a vector; in F64, without overflow."""
    top = logits.max()
    return float(top + np.log(np.exp(logits - top, dtype=np.float64).sum()))


class Greedy:
    """One sequence on its way.

    Attributes:
        tokens: chosen so far, without `</s>`.
        logprob: sum of the natural logs of the chosen tokens' probabilities, `</s>` included, by
            the model's own distribution (suppressed tokens included, as in transformers).
        decoded: how many tokens that sum has.
        finish_reason: "stop" after `</s>`, "length" at max_tokens, None before.
    """

    def __init__(self, *, eos: int, suppressed: npt.NDArray[np.intp], max_tokens: int) -> None:
        self._eos = eos
        self._suppressed = suppressed
        self._max_tokens = max_tokens
        self.tokens: list[int] = []
        self.logprob = 0.0
        self.decoded = 0
        self.finish_reason: str | None = None

    def accept(self, logits: F32) -> int:
        """Takes the logits after the last token, shape (n_vocab,), and returns the next token."""
        allowed = logits.copy()
        allowed[self._suppressed] = -np.inf
        token = int(allowed.argmax())
        self.logprob += float(logits[token]) - log_sum_exp(logits)
        self.decoded += 1
        if token == self._eos:
            self.finish_reason = "stop"
        else:
            self.tokens.append(token)
            if len(self.tokens) == self._max_tokens:
                self.finish_reason = "length"
        return token
