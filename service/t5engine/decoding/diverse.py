"""Diverse beam search as in transformers 4.56.2: generation/utils.py, `_group_beam_search`.

The scorer is generation/beam_search.py, `BeamSearchScorer`. Vijayakumar et al., 2016: groups of
beams are searched one after the other, each penalised for tokens that groups before it took in the
same step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from t5engine.decoding.beam import attainable, candidates, dead_end, normalised
from t5engine.decoding.logprobs import F32, log_softmax
from t5engine.decoding.parameters import GenerationConfig
from t5engine.decoding.search import Branch, Hypothesis, Rules, choose, finish_reason


class Group:
    """The beams of one group: those that run, and the best that have ended."""

    def __init__(self, size: int, eos: int) -> None:
        self.size = size
        self.running = [Hypothesis(eos=eos)]
        self.ended: list[Hypothesis] = []

    def end(self, one: Hypothesis, score: float) -> None:
        """Takes an ended sequence if it is among the best."""
        worst = min((other.score for other in self.ended), default=0.0)
        if len(self.ended) == self.size:
            if score <= worst:
                return
            self.ended.remove(min(self.ended, key=lambda other: other.score))
        one.score = score
        self.ended.append(one)

    def is_done(self, config: GenerationConfig, best_score: float, length: int) -> bool:
        """Whether no running beam is thought to become better than those that have ended."""
        if len(self.ended) < self.size:
            return False
        worst = min(one.score for one in self.ended)
        return config.early_stopping is True or worst >= attainable(config, best_score, length)


class DiverseBeamSearch:
    """Beam search in groups that avoid one another's tokens."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        size = rules.config.num_beams // rules.config.num_beam_groups
        self._groups = [Group(size, rules.eos) for _ in range(rules.config.num_beam_groups)]
        self._length = 0

    @property
    def settled(self) -> list[Hypothesis]:
        """None before the search is over."""
        if any(group.running for group in self._groups):
            return []
        ended = sorted((one for group in self._groups for one in group.ended), key=_score)
        return ended[::-1][: self._rules.config.num_return_sequences]

    def advance(self, logits: Sequence[F32]) -> list[Branch]:
        """Takes the logits after each running beam, in the order of the groups."""
        log_probs = [log_softmax(row) for row in logits]
        first = 0
        taken: Counter[int] = Counter()
        branches = []
        for group in self._groups:
            if not group.running:
                continue
            # Before the first token all groups stand at the same place.
            start = first if self._length else 0
            rows = log_probs[start : start + len(group.running)]
            first += len(rows)
            for place, token in self._advance_group(group, rows, taken):
                branches.append(Branch(start + place, token))
        self._length += 1
        return branches

    def _advance_group(
        self, group: Group, log_probs: Sequence[F32], taken: Counter[int]
    ) -> list[Branch]:
        beams = group.running
        processed = [
            self._rules.processors(row, beam.tokens, taken)
            for beam, row in zip(beams, log_probs, strict=True)
        ]
        length = self._length + 1
        found = candidates(beams, processed, 2 * group.size)
        group.running, branches = [], []
        for rank, (place, token, score) in enumerate(found):
            choice = choose(log_probs[place], token, self._rules.config.top_logprobs)
            one = beams[place].extended(choice, score)
            one.finish_reason = finish_reason(one, self._rules)
            if one.finish_reason == "stop":
                if rank < group.size:
                    group.end(one, normalised(self._rules.config, score, length))
            else:
                group.running.append(one)
                branches.append(Branch(place, token))
            if len(branches) == group.size:
                break
        taken.update(branch.token for branch in branches)
        if found and group.is_done(self._rules.config, found[0].score, length):
            group.running = []
        if length == self._rules.config.max_tokens:
            for one in group.running:
                group.end(one, normalised(self._rules.config, one.score, length))
            group.running = []
        if not (group.running or group.ended):
            group.ended = [dead_end(beams[0], log_probs[0], self._rules.config)]
        return branches if group.running else []


def _score(one: Hypothesis) -> float:
    return one.score
