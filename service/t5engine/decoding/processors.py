"""Processors change the scores of the next token: penalties, biases, bans.

The order is that of transformers 4.56.2 (generation/utils.py, `_get_logits_processor`): bias,
diversity, repetition penalty, n-grams, suppressed tokens. OpenAI's presence and frequency
penalties follow the repetition penalty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from t5engine.decoding.logprobs import F32
from t5engine.decoding.parameters import GenerationConfig


class Processors:
    """The processors of one generation.

    Args:
        config: penalties, biases and n-gram size.
        start: the decoder's start token, which counts as generated, as in transformers.
        suppressed: ids that are never generated, ascending.

    Attributes:
        suppressed: the same.
        suppressed_ids: the same, as a set.
        only_suppress: whether all other scores stay as they are.
        only_bias: whether scores change only by suppression and a bias.
    """

    def __init__(
        self, config: GenerationConfig, *, start: int, suppressed: npt.NDArray[np.intp]
    ) -> None:
        self._config = config
        self._start = start
        self.suppressed = np.ascontiguousarray(suppressed, np.int64)
        self.suppressed_ids = frozenset(self.suppressed.tolist())
        self._biased = np.array(list(config.logit_bias), np.intp)
        self._bias = np.array(list(config.logit_bias.values()), np.float32)
        self.only_bias = (
            not config.no_repeat_ngram_size
            and config.repetition_penalty == 1
            and not (config.presence_penalty or config.frequency_penalty)
        )
        self.only_suppress = self.only_bias and not config.logit_bias

    def __call__(
        self, scores: F32, tokens: Sequence[int], chosen_counts: Mapping[int, int] | None = None
    ) -> F32:
        """Returns the processed scores, (n_vocab,); leaves `scores` unchanged.

        Args:
            scores: logits, or log-probabilities in a beam search, (n_vocab,).
            tokens: ids generated so far.
            chosen_counts: for each token, how many beams of earlier groups chose it in this step.
        """
        config = self._config
        scores = scores.copy()
        if self._bias.size:
            scores[self._biased] += self._bias
        for token, count in (chosen_counts or {}).items():
            scores[token] -= config.diversity_penalty * count
        if config.repetition_penalty != 1:
            generated = list({self._start, *tokens})
            scores[generated] = np.where(
                scores[generated] < 0,
                scores[generated] * config.repetition_penalty,
                scores[generated] / config.repetition_penalty,
            )
        if config.presence_penalty or config.frequency_penalty:
            for token, count in Counter(tokens).items():
                scores[token] -= config.presence_penalty + count * config.frequency_penalty
        if config.no_repeat_ngram_size:
            scores[self._find_repetitions([self._start, *tokens])] = -np.inf
        scores[self.suppressed] = -np.inf
        return scores

    def _find_repetitions(self, tokens: list[int]) -> list[int]:
        """Returns the tokens that would complete an n-gram a second time."""
        size = self._config.no_repeat_ngram_size
        if len(tokens) + 1 < size:
            return []
        prefix = tokens[len(tokens) + 1 - size :]  # of the n-gram that the next token completes
        ends = range(size - 1, len(tokens))
        return [tokens[end] for end in ends if tokens[end + 1 - size : end] == prefix]
