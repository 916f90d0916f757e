"""Beam search as in transformers 4.56.2: generation/utils.py, `_beam_search`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from t5engine.decoding.logprobs import F32, log_softmax
from t5engine.decoding.parameters import GenerationConfig
from t5engine.decoding.search import (
    Branch,
    Choice,
    Hypothesis,
    Rules,
    find_finish_reason,
    make_choice,
)


def attainable_score(config: GenerationConfig, score: float, length: int) -> float:
    """Returns the normalised score that a running beam is assumed to reach.

    Args:
        config: generation parameters.
        score: sum of the beam's log-probabilities.
        length: number of the beam's tokens.
    """
    if config.early_stopping == "never" and config.length_penalty > 0:
        length = config.max_tokens
    return normalised_score(config, score, length)


def normalised_score(config: GenerationConfig, score: float, length: int) -> float:
    """Returns score / length ** length_penalty; the length includes `</s>`."""
    return float(score / float(length) ** config.length_penalty)


def end_beam(beam: Hypothesis, log_probs: F32, config: GenerationConfig) -> Hypothesis:
    """Ends a beam that no token may follow: the processors can exclude every token."""
    ended = beam.extended(make_choice(log_probs, beam.eos, config.top_logprobs), 0.0)
    ended.score = normalised_score(config, beam.score, len(ended.choices))
    ended.finish_reason = "stop"
    return ended


class BeamSearch:
    """Keeps the `num_beams` best running sequences and the `num_beams` best ended ones."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._running = [Hypothesis(eos=rules.eos)]
        self._ended: list[Hypothesis] = []

    @property
    def settled(self) -> list[Hypothesis]:
        """The best ended sequences; empty before the search is over."""
        return [] if self._running else self._ended[: self._rules.config.num_return_sequences]

    def advance(self, logits: Sequence[F32]) -> list[Branch]:
        """Continues the running beams by one token; see Search."""
        beams, count = self._running, self._rules.config.num_beams
        self._running = []
        branches: list[Branch] = []
        # At most one continuation per beam ends, so at least num_beams of 2 * num_beams go on.
        for rank, (parent, choice, score) in enumerate(self._find_best(logits, beams, 2 * count)):
            if len(branches) == count:
                break
            hypothesis = beams[parent].extended(choice, score)
            hypothesis.finish_reason = find_finish_reason(hypothesis, self._rules)
            if hypothesis.finish_reason is not None and rank < count:
                self._ended.append(hypothesis)
                length = len(hypothesis.choices)
                hypothesis.score = normalised_score(self._rules.config, score, length)
            elif hypothesis.finish_reason is None:
                self._running.append(hypothesis)
                branches.append(Branch(parent, choice.token))
        self._ended = sorted(self._ended, key=lambda hypothesis: -hypothesis.score)[:count]
        if not (self._running or self._ended):
            self._ended = [end_beam(beams[0], log_softmax(logits[0]), self._rules.config)]
        if self._is_over():
            self._running = []
        return branches if self._running else []

    def _find_best(
        self, logits: Sequence[F32], beams: Sequence[Hypothesis], count: int
    ) -> list[tuple[int, Choice, float]]:
        """Returns the best continuations: the beam's index, the token, the score; best first."""
        arithmetic, processors = self._rules.arithmetic, self._rules.processors
        top_count = self._rules.config.top_logprobs
        scores = [beam.score for beam in beams]
        if processors.only_suppress and not top_count:
            found = arithmetic.likeliest(logits, scores, count, processors.suppressed)
            return [(row, Choice(token, logprob), score) for row, token, logprob, score in found]
        log_probs = [row - np.float32(arithmetic.log_sum_exp(row)) for row in logits]
        processed = [
            processors(row, beam.tokens) for beam, row in zip(beams, log_probs, strict=True)
        ]
        return [
            (row, make_choice(log_probs[row], token, top_count), score)
            for row, token, score in arithmetic.best(processed, scores, count)
        ]

    def _is_over(self) -> bool:
        if not self._running:
            return True
        if len(self._ended) < self._rules.config.num_beams:
            return False
        if self._rules.config.early_stopping is True:
            return True
        best = self._running[0]
        attainable = attainable_score(self._rules.config, best.score, len(best.choices))
        return attainable <= self._ended[-1].score
