"""How well-formed a question is, by logistic regression on its words and their order."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

BUCKETS = 1 << 17


def features(text: str) -> npt.NDArray[np.int64]:
    """Hashed word 1-, 2- and 3-grams with the ends of the text; case and spacing don't count."""
    tokens = ["^", *text.lower().rstrip(" ?.!").split(), "$"]
    grams = [
        "\t".join(tokens[start : start + size])
        for size in (1, 2, 3)
        for start in range(len(tokens) - size + 1)
    ]
    return np.array(sorted({zlib.crc32(gram.encode()) % BUCKETS for gram in grams}))


class Judge:
    """Rates questions between 0 and 1."""

    def __init__(
        self, rated: Sequence[tuple[str, float]], *, epochs: int = 6, seed: int = 0
    ) -> None:
        """Learns from texts with ratings, by stochastic gradient descent (AdaGrad)."""
        self._weights = np.zeros(BUCKETS)
        squares = np.full(BUCKETS, 1e-2)
        examples = [(features(text), rating) for text, rating in rated]
        order = np.random.default_rng(seed)
        for _ in range(epochs):
            for index in order.permutation(len(examples)):
                found, rating = examples[index]
                slope = self._rate(found) - rating
                squares[found] += slope**2
                self._weights[found] -= 0.1 * slope / np.sqrt(squares[found])

    def __call__(self, text: str) -> float:
        return self._rate(features(text))

    def _rate(self, found: npt.NDArray[np.int64]) -> float:
        return float(1 / (1 + np.exp(-self._weights[found].sum())))
