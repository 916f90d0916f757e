"""Greedy decoding: the most likely token each time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]


def log_sum_exp(logits: F32) -> float:
    """Natural log of the sum of exp over a vector; in F64, without overflow."""
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

    def __init__(self, *, eos: int, suppressed: npt.NDArray[np.bool_], max_tokens: int) -> None:
        """Starts an empty sequence; `suppressed` says of each id whether it may not come out."""
        self._eos = eos
        self._suppressed = suppressed
        self._max_tokens = max_tokens
        self.tokens: list[int] = []
        self.logprob = 0.0
        self.decoded = 0
        self.finish_reason: str | None = None

    def accept(self, best: int, logprob: float, logits: Callable[[], F32]) -> int:
        """Takes what the model says after the last token, and returns the next one.

        Args:
            best: the most likely token.
            logprob: natural log of its probability.
            logits: gives all of them, (n_vocab,); asked only when the best is suppressed.
        """
        if self._suppressed[best]:
            best, logprob = self._best_allowed(logits())
        self.logprob += logprob
        self.decoded += 1
        if best == self._eos:
            self.finish_reason = "stop"
        else:
            self.tokens.append(best)
            if len(self.tokens) == self._max_tokens:
                self.finish_reason = "length"
        return best

    def _best_allowed(self, logits: F32) -> tuple[int, float]:
        token = int(np.where(self._suppressed, -np.inf, logits).argmax())
        return token, float(logits[token]) - log_sum_exp(logits)
