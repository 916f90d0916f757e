"""Diverse beam search as in transformers 4.56.2: generation/utils.py, `_group_beam_search`.

The scorer is generation/beam_search.py, `BeamSearchScorer`. Vijayakumar et al., 2016: groups of
beams are searched one after the other. A token's score in a group falls by diversity_penalty for
each time that earlier groups chose the token in the same step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from t5engine.decoding.beam import attainable_score, end_beam, normalised_score
from t5engine.decoding.logprobs import F32
from t5engine.decoding.parameters import GenerationConfig
from t5engine.decoding.search import Branch, Hypothesis, Rules, find_finish_reason, make_choice


class Group:
    """The running beams of one group, and the best ended ones."""

    def __init__(self, size: int, eos: int) -> None:
        self.size = size
        self.running = [Hypothesis(eos=eos)]
        self.ended: list[Hypothesis] = []

    def add_ended(self, hypothesis: Hypothesis, score: float) -> None:
        """Keeps an ended sequence if it is among the `size` best."""
        if len(self.ended) == self.size:
            worst = min(self.ended, key=_score)
            if score <= worst.score:
                return
            self.ended.remove(worst)
        hypothesis.score = score
        self.ended.append(hypothesis)

    def is_done(self, config: GenerationConfig, best_score: float, length: int) -> bool:
        """Whether no running beam is assumed to become better than the ended ones."""
        if len(self.ended) < self.size:
            return False
        worst_score = min(map(_score, self.ended))
        if config.early_stopping is True:
            return True
        return worst_score >= attainable_score(config, best_score, length)


class DiverseBeamSearch:
    """Searches with groups of beams that avoid one another's tokens."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        size = rules.config.num_beams // rules.config.num_beam_groups
        self._groups = [Group(size, rules.eos) for _ in range(rules.config.num_beam_groups)]
        self._length = 0

    @property
    def settled(self) -> list[Hypothesis]:
        """The best ended sequences of all groups; empty before the search is over."""
        if any(group.running for group in self._groups):
            return []
        ended = sorted((ended for group in self._groups for ended in group.ended), key=_score)
        return ended[::-1][: self._rules.config.num_return_sequences]

    def advance(self, logits: Sequence[F32]) -> list[Branch]:
        """Continues the running beams by one token, group by group; see Search."""
        arithmetic = self._rules.arithmetic
        log_probs = [row - np.float32(arithmetic.log_sum_exp(row)) for row in logits]
        first_row = 0
        chosen_counts: Counter[int] = Counter()
        branches = []
        for group in self._groups:
            if not group.running:
                continue
            # Before the first token all groups share one row of logits.
            start = first_row if self._length else 0
            rows = log_probs[start : start + len(group.running)]
            first_row += len(rows)
            for parent, token in self._advance_group(group, rows, chosen_counts):
                branches.append(Branch(start + parent, token))
        self._length += 1
        return branches

    def _advance_group(
        self, group: Group, log_probs: Sequence[F32], chosen_counts: Counter[int]
    ) -> list[Branch]:
        """Continues one group, and adds its tokens to `chosen_counts`."""
        beams = group.running
        processed = [
            self._rules.processors(row, beam.tokens, chosen_counts)
            for beam, row in zip(beams, log_probs, strict=True)
        ]
        length = self._length + 1
        scores = [beam.score for beam in beams]
        candidates = self._rules.arithmetic.best(processed, scores, 2 * group.size)
        group.running, branches = [], []
        for rank, (parent, token, score) in enumerate(candidates):
            choice = make_choice(log_probs[parent], token, self._rules.config.top_logprobs)
            hypothesis = beams[parent].extended(choice, score)
            hypothesis.finish_reason = find_finish_reason(hypothesis, self._rules)
            if hypothesis.finish_reason == "stop":
                if rank < group.size:
                    normalised = normalised_score(self._rules.config, score, length)
                    group.add_ended(hypothesis, normalised)
            else:
                group.running.append(hypothesis)
                branches.append(Branch(parent, token))
            if len(branches) == group.size:
                break
        chosen_counts.update(branch.token for branch in branches)
        if candidates and group.is_done(self._rules.config, candidates[0].score, length):
            group.running = []
        if length == self._rules.config.max_tokens:
            for hypothesis in group.running:
                normalised = normalised_score(self._rules.config, hypothesis.score, length)
                group.add_ended(hypothesis, normalised)
            group.running = []
        if not (group.running or group.ended):
            group.ended = [end_beam(beams[0], log_probs[0], self._rules.config)]
        return branches if group.running else []


def _score(hypothesis: Hypothesis) -> float:
    return hypothesis.score
