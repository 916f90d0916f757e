"""How near a beam search came to another result.

A search compares sums of log-probabilities, or such sums over length ** length_penalty. `Ties`
notes each comparison that decides something:

- which candidates run on, and which do not (only among those that the search looks at: twice
  as many as there are beams in the group);
- whether an ended candidate is among the best `num_beams` (of its group), without which it is
  forgotten;
- which finished hypotheses are kept, and in what order the returned ones come;
- whether the best that running hypotheses promise is above the worst finished one.

Its `gap` is the smallest difference of all of them, each divided by the number of
log-probabilities in which the two sides differ (halved if both have their own), and so has the
unit of greedy's `gap` in make.py: an implementation whose every log-probability (one token's,
after the processors) is off by less than half of it takes the same decisions. That is the worst
case, in which all errors point the wrong way: random ones up to the gap changed 6 of 260 searches,
up to five times the gap a third of them.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import takewhile
from typing import Any, NamedTuple

import torch
from reference import EOS
from transformers import BeamSearchScorer, PreTrainedModel
from transformers.generation import utils

# The decoder's start token is not part of a hypothesis here.
PROMPT = 1


class Hypothesis(NamedTuple):
    """What is compared: `score` is a sum of log-probabilities over `divisor`."""

    score: float
    ids: list[int]
    divisor: float = 1.0

    def over(self, divisor: float) -> "Hypothesis":
        return Hypothesis(self.score / divisor, self.ids, divisor)


class Ties:
    """The comparisons of one search of one input."""

    def __init__(self) -> None:
        self.gap = math.inf
        self.open: list[Hypothesis] = []
        # By group; plain beam search has one.
        self.finished: dict[int, list[Hypothesis]] = {}

    def candidates(self, ranked: Sequence[Hypothesis], ended: Sequence[bool], beams: int) -> None:
        """Note what becomes of a step's candidates, best first."""
        self.open = [hypothesis for hypothesis, end in zip(ranked, ended, strict=True) if not end]
        self._split(self.open, beams)
        for high, high_ended in zip(ranked[:beams], ended, strict=False):
            for low, low_ended in zip(ranked[beams:], ended[beams:], strict=True):
                if high_ended or low_ended:
                    self._compare(high, low)

    def finish(self, new: Sequence[Hypothesis], beams: int, group: int = 0) -> None:
        """Add finished hypotheses to a group's, and keep the best."""
        ranked = sorted([*self.finished.get(group, []), *new], reverse=True)
        self._split(ranked, beams)
        self.finished[group] = ranked[:beams]

    def stop(self, best: Hypothesis, beams: int, group: int = 0) -> None:
        """Note whether a full group gives up, as it does unless the best open one can enter it."""
        finished = self.finished.get(group, [])
        if len(finished) == beams:
            self._compare(best, finished[-1])

    def ranking(self, returned: int) -> list[Hypothesis]:
        """Return the best of all groups, once the search is over."""
        ranked = sorted((one for group in self.finished.values() for one in group), reverse=True)
        for place in range(returned):
            self._split(ranked[place:], 1)
        return ranked[:returned]

    def _split(self, ranked: Sequence[Hypothesis], count: int) -> None:
        for high in ranked[:count]:
            for low in ranked[count:]:
                self._compare(high, low)

    def _compare(self, one: Hypothesis, other: Hypothesis) -> None:
        pairs = zip(one.ids, other.ids, strict=False)
        shared = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
        differing = (
            shared * abs(1 / one.divisor - 1 / other.divisor)
            + (len(one.ids) - shared) / one.divisor
            + (len(other.ids) - shared) / other.divisor
        )
        # Equal ids have equal errors: two groups may finish the same hypothesis.
        if differing:
            self.gap = min(self.gap, 2 * abs(one.score - other.score) / differing)


@contextmanager
def watched(model: PreTrainedModel) -> Iterator[Ties]:
    """Note what the model's beam searches compare; one search of one input at a time."""
    ties = Ties()
    update, check = model._update_finished_beams, model._check_early_stop_heuristic
    scorer = utils.BeamSearchScorer

    def updating(**state: Any) -> Any:
        _note_step(ties, **state)
        return update(**state)

    def checking(**state: Any) -> Any:
        _note_stop(ties, **state)
        return check(**state)

    model._update_finished_beams, model._check_early_stop_heuristic = updating, checking
    utils.BeamSearchScorer = partial(WatchedScorer, ties)
    try:
        yield ties
    finally:
        del model._update_finished_beams, model._check_early_stop_heuristic
        utils.BeamSearchScorer = scorer


def _note_step(
    ties: Ties,
    *,
    topk_running_sequences: torch.Tensor,
    topk_log_probs: torch.Tensor,
    next_token_hits_stopping_criteria: torch.Tensor,
    num_beams: int,
    cur_len: int,
    length_penalty: float,
    **_: Any,
) -> None:
    rows = topk_running_sequences[0, :, PROMPT : cur_len + 1].tolist()
    ranked = [Hypothesis(*one) for one in zip(topk_log_probs[0].tolist(), rows, strict=True)]
    ended = next_token_hits_stopping_criteria[0].tolist()
    ties.candidates(ranked, ended, num_beams)
    divisor = (cur_len + 1 - PROMPT) ** length_penalty
    best = zip(ranked[:num_beams], ended, strict=False)
    ties.finish([hypothesis.over(divisor) for hypothesis, end in best if end], num_beams)


def _note_stop(
    ties: Ties,
    *,
    beam_scores: torch.Tensor,
    cur_len: int,
    max_length: int,
    early_stopping: bool | str,
    length_penalty: float,
    **_: Any,
) -> None:
    # A search that stops anyway decides nothing here.
    if early_stopping is not True and cur_len < max_length:
        length = max_length if early_stopping == "never" and length_penalty > 0 else cur_len
        ties.stop(ties.open[0].over((length - PROMPT) ** length_penalty), beam_scores.shape[1])


class WatchedScorer(BeamSearchScorer):
    """The scorer of group beam search, which keeps its hypotheses without the end mark."""

    def __init__(self, ties: Ties, **options: Any) -> None:
        super().__init__(**options)
        self.ties = ties
        self.max_length = options["max_length"]

    def process(
        self,
        input_ids: torch.Tensor,
        next_scores: torch.Tensor,
        next_tokens: torch.Tensor,
        next_indices: torch.Tensor,
        **state: Any,
    ) -> Any:
        group = state["group_index"]
        if not self._done[group]:
            tokens = next_tokens[0].tolist()
            rows = input_ids[next_indices[0], PROMPT:].tolist()
            ids = [[*row, token] for row, token in zip(rows, tokens, strict=True)]
            ranked = [Hypothesis(*one) for one in zip(next_scores[0].tolist(), ids, strict=True)]
            self._note(ranked, [token == EOS for token in tokens], group)
        return super().process(input_ids, next_scores, next_tokens, next_indices, **state)

    def _note(self, ranked: list[Hypothesis], ended: list[bool], group: int) -> None:
        self.ties.candidates(ranked, ended, self.group_size)
        length = len(ranked[0].ids)
        divisor = length**self.length_penalty
        best = zip(ranked[: self.group_size], ended, strict=False)
        new = [hypothesis.over(divisor) for hypothesis, end in best if end]
        self.ties.finish(new, self.group_size, group)
        if self.do_early_stopping is not True:
            # The best candidate counts here even if it has ended.
            if self.do_early_stopping == "never" and self.length_penalty > 0:
                divisor = (self.max_length - PROMPT) ** self.length_penalty
            self.ties.stop(ranked[0].over(divisor), self.group_size, group)

    def finalize(
        self, input_ids: torch.Tensor, final_beam_scores: torch.Tensor, *rest: Any, **state: Any
    ) -> Any:
        divisor = (input_ids.shape[1] - PROMPT) ** self.length_penalty
        rows = zip(final_beam_scores.tolist(), input_ids[:, PROMPT:].tolist(), strict=True)
        still_open = [Hypothesis(*row).over(divisor) for row in rows]
        for group, done in enumerate(self._done.tolist()):
            if not done:
                start = group * self.group_size
                new = still_open[start : start + self.group_size]
                self.ties.finish(new, self.group_size, group)
        return super().finalize(input_ids, final_beam_scores, *rest, **state)
