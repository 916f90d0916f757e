"""Greedy decoding and sampling: sequences that know nothing of one another."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import numpy as np

from t5engine.decoding.logprobs import F32, log_sum_exp
from t5engine.decoding.sampler import Sampler
from t5engine.decoding.search import Branch, Hypothesis, Rules, choose, finish_reason


class Independent:
    """One greedy sequence, or several sampled ones."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        count = rules.config.num_return_sequences
        seed = secrets.randbits(63) if rules.config.seed is None else rules.config.seed
        sampled = range(count) if rules.config.do_sample else ()
        self._samplers = [Sampler(rules.config, seed, i) for i in sampled]
        self._hypotheses = [Hypothesis(eos=rules.eos) for _ in range(count)]
        self._running = list(range(count))

    @property
    def settled(self) -> list[Hypothesis]:
        """All of them, in the order of their draws."""
        return self._hypotheses

    def advance(self, logits: Sequence[F32]) -> list[Branch]:
        """Takes the logits after each running sequence; of the common start only once."""
        # All are the same before the first token.
        places = [0] * len(self._running) if len(logits) == 1 else range(len(logits))
        log_totals = [log_sum_exp(row) for row in logits]
        branches, running = [], []
        for index, place in zip(self._running, places, strict=True):
            hypothesis = self._hypotheses[index]
            token = self._next(index, logits[place], hypothesis.tokens)
            hypothesis.choices.append(
                choose(
                    logits[place],
                    token,
                    self._rules.config.top_logprobs,
                    log_total=log_totals[place],
                )
            )
            hypothesis.score = hypothesis.logprob / len(hypothesis.choices)
            hypothesis.finish_reason = finish_reason(hypothesis, self._rules)
            if hypothesis.finish_reason is None:
                branches.append(Branch(place, token))
                running.append(index)
        self._running = running
        return branches

    def _next(self, index: int, logits: F32, tokens: Sequence[int]) -> int:
        scores = self._rules.processors(logits, tokens)
        likeliest = int(scores.argmax())
        if scores[likeliest] == -np.inf:
            return self._rules.eos  # nothing is allowed any more
        if not self._samplers:
            return likeliest
        return self._samplers[index].draw(scores)
