"""Rates how well-formed a question is, by logistic regression on its words and their order."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

BUCKETS = 1 << 17


def extract_features(text: str) -> npt.NDArray[np.int64]:
    """Returns hashed word 1-, 2- and 3-grams, the text's ends included.

    Case and spacing do not change the features.
    """
    tokens = ["^", *text.lower().rstrip(" ?.!").split(), "$"]
    ngrams = [
        "\t".join(tokens[start : start + size])
        for size in (1, 2, 3)
        for start in range(len(tokens) - size + 1)
    ]
    return np.array(sorted({zlib.crc32(ngram.encode()) % BUCKETS for ngram in ngrams}))


class QuestionRater:
    """Rates questions between 0 and 1."""

    def __init__(
        self, rated: Sequence[tuple[str, float]], *, epochs: int = 6, seed: int = 0
    ) -> None:
        """Learns from texts with ratings, by stochastic gradient descent (AdaGrad)."""
        self._weights = np.zeros(BUCKETS)
        squares = np.full(BUCKETS, 1e-2)
        examples = [(extract_features(text), rating) for text, rating in rated]
        generator = np.random.default_rng(seed)
        for _ in range(epochs):
            for index in generator.permutation(len(examples)):
                features, rating = examples[index]
                gradient = self._rate_features(features) - rating
                squares[features] += gradient**2
                self._weights[features] -= 0.1 * gradient / np.sqrt(squares[features])

    def rate(self, text: str) -> float:
        """Returns the rating of a text, 0 to 1."""
        return self._rate_features(extract_features(text))

    def _rate_features(self, features: npt.NDArray[np.int64]) -> float:
        return float(1 / (1 + np.exp(-self._weights[features].sum())))
