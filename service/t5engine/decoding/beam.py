"""Beam search as in transformers 4.56.2: generation/utils.py, `_beam_search`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from t5engine.decoding.logprobs import F32, best, log_softmax
from t5engine.decoding.parameters import GenerationConfig
from t5engine.decoding.search import (
    Branch,
    Hypothesis,
    Rules,
    choose,
    finish_reason,
)


class Candidate(NamedTuple):
    """One more token on one of the beams; score is the sum of processed log-probabilities."""

    beam: int
    token: int
    score: float


def candidates(
    beams: Sequence[Hypothesis], processed: Sequence[F32], count: int
) -> list[Candidate]:
    """The best continuations of all beams, best first."""
    scores = np.stack(
        [row + np.float32(beam.score) for beam, row in zip(beams, processed, strict=True)]
    )
    places = best(scores.ravel(), count)
    width = scores.shape[1]
    return [Candidate(place // width, place % width, float(scores.flat[place])) for place in places]


def attainable(config: GenerationConfig, score: float, length: int) -> float:
    """The normalised score that a running beam is thought to reach."""
    if config.early_stopping == "never" and config.length_penalty > 0:
        length = config.max_tokens
    return normalised(config, score, length)


def normalised(config: GenerationConfig, score: float, length: int) -> float:
    """A sum over so many tokens, `</s>` included, made comparable to those of other lengths."""
    return float(score / float(length) ** config.length_penalty)


def dead_end(beam: Hypothesis, log_probs: F32, config: GenerationConfig) -> Hypothesis:
    """Ends a beam that no token may follow: penalties and bans can exclude all of them."""
    ended = beam.extended(choose(log_probs, beam.eos, config.top_logprobs), 0.0)
    ended.score = normalised(config, beam.score, len(ended.choices))
    ended.finish_reason = "stop"
    return ended


class BeamSearch:
    """Keeps the `num_beams` best running sequences, and as many that have ended."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._running = [Hypothesis(eos=rules.eos)]
        self._ended: list[Hypothesis] = []

    @property
    def settled(self) -> list[Hypothesis]:
        """None before the search is over."""
        return [] if self._running else self._ended[: self._rules.config.num_return_sequences]

    def advance(self, logits: Sequence[F32]) -> list[Branch]:
        """Takes the logits after each running beam."""
        beams, count = self._running, self._rules.config.num_beams
        log_probs = [log_softmax(row) for row in logits]
        processed = [
            self._rules.processors(row, beam.tokens)
            for beam, row in zip(beams, log_probs, strict=True)
        ]
        self._running = []
        branches: list[Branch] = []
        # At most one continuation of a beam ends, so that of twice as many enough go on.
        for rank, (place, token, score) in enumerate(candidates(beams, processed, 2 * count)):
            choice = choose(log_probs[place], token, self._rules.config.top_logprobs)
            one = beams[place].extended(choice, score)
            one.finish_reason = finish_reason(one, self._rules)
            if one.finish_reason is not None and rank < count:
                self._ended.append(one)
                one.score = normalised(self._rules.config, score, len(one.choices))
            elif one.finish_reason is None and len(branches) < count:
                self._running.append(one)
                branches.append(Branch(place, token))
        self._ended = sorted(self._ended, key=lambda one: -one.score)[:count]
        if not (self._running or self._ended):
            self._ended = [dead_end(beams[0], log_probs[0], self._rules.config)]
        if self._is_over():
            self._running = []
        return branches if self._running else []

    def _is_over(self) -> bool:
        if not self._running:
            return True
        if len(self._ended) < self._rules.config.num_beams:
            return False
        if self._rules.config.early_stopping is True:
            return True
        first = self._running[0]
        reach = attainable(self._rules.config, first.score, len(first.choices))
        return reach <= self._ended[-1].score
