"""What is done to the scores of the next token before one is chosen.

In the order of transformers 4.56.2 (generation/utils.py, `_get_logits_processor`): bias,
diversity, repetition penalty, n-grams, suppressed tokens. OpenAI's presence and frequency
penalties stand beside the repetition penalty.
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
        config: whose penalties are applied.
        start: the decoder's start token, which counts as generated, as in transformers.
        suppressed: ids that never come out.
    """

    def __init__(
        self, config: GenerationConfig, *, start: int, suppressed: npt.NDArray[np.intp]
    ) -> None:
        self._config = config
        self._start = start
        self._suppressed = suppressed
        self._biased = np.array(list(config.logit_bias), np.intp)
        self._bias = np.array(list(config.logit_bias.values()), np.float32)

    def __call__(
        self, scores: F32, tokens: Sequence[int], others: Mapping[int, int] | None = None
    ) -> F32:
        """Processed scores, (n_vocab,); the given ones stay as they are.

        Args:
            scores: logits, or log-probabilities in a beam search, (n_vocab,).
            tokens: generated so far.
            others: how many beams of the groups before took each token in this step.
        """
        config = self._config
        scores = scores.copy()
        if self._bias.size:
            scores[self._biased] += self._bias
        for token, count in (others or {}).items():
            scores[token] -= config.diversity_penalty * count
        if config.repetition_penalty != 1:
            seen = list({self._start, *tokens})
            scores[seen] = np.where(
                scores[seen] < 0,
                scores[seen] * config.repetition_penalty,
                scores[seen] / config.repetition_penalty,
            )
        if config.presence_penalty or config.frequency_penalty:
            for token, count in Counter(tokens).items():
                scores[token] -= config.presence_penalty + count * config.frequency_penalty
        if config.no_repeat_ngram_size:
            scores[self._repeating([self._start, *tokens])] = -np.inf
        scores[self._suppressed] = -np.inf
        return scores

    def _repeating(self, tokens: list[int]) -> list[int]:
        """Tokens that would end an n-gram that is there already."""
        size = self._config.no_repeat_ngram_size
        if len(tokens) + 1 < size:
            return []
        head = tokens[len(tokens) + 1 - size :]
        starts = range(len(tokens) - size + 1)
        return [tokens[i + size - 1] for i in starts if tokens[i : i + size - 1] == head]
