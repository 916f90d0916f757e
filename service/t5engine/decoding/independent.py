"""Greedy decoding and sampling: sequences that do not depend on one another."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import numpy as np

from t5engine.decoding.logprobs import F32
from t5engine.decoding.sampler import Sampler
from t5engine.decoding.search import (
    Branch,
    Choice,
    Hypothesis,
    Rules,
    find_finish_reason,
    make_choice,
)


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

    @property
    def only_takes_most_likely(self) -> bool:
        """Whether each token is the most likely one after bias, unless that is suppressed."""
        rules = self._rules
        return (
            not self._samplers
            and rules.processors.only_bias
            and rules.should_stop is None
            and not rules.config.top_logprobs
        )

    def accept(self, choices: Sequence[Choice]) -> list[Branch]:
        """Takes the next tokens of a lone sequence, at least one, that `advance` would choose.

        Returns:
            The continuation after the last one.
        """
        (hypothesis,) = self._hypotheses
        hypothesis.choices += choices
        if self._goes_on(hypothesis):
            return [Branch(0, choices[-1].token)]
        self._running = []
        return []

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
            if self._goes_on(hypothesis):
                branches.append(Branch(parent, token))
                running.append(index)
        self._running = running
        return branches

    def _goes_on(self, hypothesis: Hypothesis) -> bool:
        """Scores a sequence that has become longer; returns whether it is not over."""
        hypothesis.score = hypothesis.logprob / len(hypothesis.choices)
        hypothesis.finish_reason = find_finish_reason(hypothesis, self._rules)
        return hypothesis.finish_reason is None

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
