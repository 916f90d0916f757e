"""Greedy decoding and sampling: sequences that do not depend on one another."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import numpy as np

from t5engine.decoding.logprobs import F32
from t5engine.decoding.sampler import Sampler
from t5engine.decoding.search import Branch, Hypothesis, Rules, find_finish_reason, make_choice


class Independent:
    """Decodes one greedy sequence, or samples several; at temperature 0 these are equal."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        count = rules.config.num_return_sequences
        is_random = rules.config.do_sample and rules.config.temperature > 0
        sampled_count = count if is_random else 0
        seed = rules.config.seed or 0
        if sampled_count and rules.config.seed is None:
            seed = secrets.randbits(63)
        self._samplers = [Sampler(rules.config, seed, index) for index in range(sampled_count)]
        self._hypotheses = [Hypothesis(eos=rules.eos) for _ in range(count)]
        self._running = list(range(count))

    @property
    def settled(self) -> list[Hypothesis]:
        """All sequences, by index."""
        return self._hypotheses

    def advance(self, logits: Sequence[F32]) -> list[Branch]:
        """Chooses the next token of each running sequence.

        All sequences are the same before the first token: the first call takes one row of logits.
        """
        parents = [0] * len(self._running) if len(logits) == 1 else range(len(logits))
        log_totals = [self._rules.arithmetic.log_sum_exp(row) for row in logits]
        branches, running = [], []
        for index, parent in zip(self._running, parents, strict=True):
            hypothesis = self._hypotheses[index]
            token = self._next_token(index, logits[parent], hypothesis.tokens)
            hypothesis.choices.append(
                make_choice(
                    logits[parent],
                    token,
                    self._rules.config.top_logprobs,
                    log_total=log_totals[parent],
                )
            )
            hypothesis.score = hypothesis.logprob / len(hypothesis.choices)
            hypothesis.finish_reason = find_finish_reason(hypothesis, self._rules)
            if hypothesis.finish_reason is None:
                branches.append(Branch(parent, token))
                running.append(index)
        self._running = running
        return branches

    def _next_token(self, index: int, logits: F32, tokens: Sequence[int]) -> int:
        processors = self._rules.processors
        if not self._samplers and processors.only_suppress:
            most_likely = int(logits.argmax())
            if most_likely not in processors.suppressed_ids:
                return most_likely  # without a copy of the logits
        scores = processors(logits, tokens)
        most_likely = int(scores.argmax())
        if scores[most_likely] == -np.inf:
            return self._rules.eos  # the processors exclude every token
        if not self._samplers:
            return most_likely
        return self._samplers[index].draw(scores)
