"""What searches compute over a whole vocabulary, defined in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from t5engine.decoding.logprobs import F32, log_sum_exp, top_indices


class Continuation(NamedTuple):
    """A row continued by one token.

    Attributes:
        row: index of the row.
        token: id of the token.
        score: its score in the row, plus the row's offset, F32.
    """

    row: int
    token: int
    score: float


class Arithmetic(Protocol):
    """Does what takes time in a search. No value may be NaN."""

    def log_sum_exp(self, logits: F32) -> float:
        """Returns log(sum(exp(logits))), (n_vocab,), computed without overflow."""
        ...

    def best(self, rows: Sequence[F32], offsets: Sequence[float], count: int) -> list[Continuation]:
        """Returns the `count` continuations of the highest finite scores, best first.

        Equal ones are in the order of rows, then of ids.

        Args:
            rows: scores, (n_vocab,) each.
            offsets: what is added to each row.
            count: at least 1; fewer come back if fewer scores are finite.
        """
        ...


class NumpyArithmetic:
    """The definition, and what serves without compiled kernels."""

    def log_sum_exp(self, logits: F32) -> float:
        """See Arithmetic."""
        return log_sum_exp(logits)

    def best(self, rows: Sequence[F32], offsets: Sequence[float], count: int) -> list[Continuation]:
        """See Arithmetic."""
        scores = np.stack(
            [row + np.float32(offset) for row, offset in zip(rows, offsets, strict=True)]
        )
        n_vocab = scores.shape[1]
        return [
            Continuation(index // n_vocab, index % n_vocab, float(scores.flat[index]))
            for index in top_indices(scores.ravel(), count)
        ]
