"""What searches compute over a whole vocabulary, defined in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from t5engine.decoding.logprobs import F32, log_softmax, log_sum_exp, top_indices

Ids = npt.NDArray[np.int64]


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


class LikelyToken(NamedTuple):
    """A row of logits continued by one of its most likely tokens.

    Attributes:
        row: index of the row.
        token: id of the token.
        logprob: natural log of the token's probability, F32.
        score: logprob plus the row's offset, F32.
    """

    row: int
    token: int
    logprob: float
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

    def likeliest(
        self, rows: Sequence[F32], offsets: Sequence[float], count: int, excluded: Ids
    ) -> list[LikelyToken]:
        """Returns the `count` tokens of the highest scores in rows of logits, best first.

        It is `best` over the log-probabilities of the rows, where excluded tokens have -inf.

        Args:
            rows: logits, (n_vocab,) each.
            offsets: what is added to each row.
            count: at least 1; fewer come back if fewer scores are finite.
            excluded: ids of tokens, ascending.
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

    def likeliest(
        self, rows: Sequence[F32], offsets: Sequence[float], count: int, excluded: Ids
    ) -> list[LikelyToken]:
        """See Arithmetic."""
        logprobs = [log_softmax(row) for row in rows]
        allowed = [_without(row, excluded) for row in logprobs]
        return [
            LikelyToken(row, token, float(logprobs[row][token]), score)
            for row, token, score in self.best(allowed, offsets, count)
        ]


def _without(row: F32, excluded: Ids) -> F32:
    row = row.copy()
    row[excluded] = -np.inf
    return row
