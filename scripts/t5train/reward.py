"""Selects answers of a model to train the model on.

As in prhegde/t5-query-reformulation-RL, the model's answers are rated and the best are trained on.
A fault (a lost number, name or subject, a copy, a repetition) excludes an answer. The other answers
are rated by their similarity to a reference, their distance from the source, and their rank.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from t5train.filters import find_fault
from t5train.words import Frequencies, content, normal, numbers

PARAPHRASE, FIX, EXPAND = "paraphrase", "fix", "expand"
COPY_PENALTY = 0.25  # weight of a paraphrase's overlap with its source
RANK_PENALTY = 0.06  # for each candidate that is more likely


def overlap_f1(left: str, right: str) -> float:
    """Returns the mean F1 of shared words and word pairs, without case and punctuation."""
    scores = []
    for size in (1, 2):
        a, b = (_count_ngrams(normal(text).split(), size) for text in (left, right))
        total = sum(a.values()) + sum(b.values())
        scores.append(2 * sum((a & b).values()) / total if total else 0.0)
    return sum(scores) / len(scores)


def _count_ngrams(tokens: list[str], size: int) -> Counter[tuple[str, ...]]:
    starts = range(len(tokens) - size + 1)
    return Counter(tuple(tokens[start : start + size]) for start in starts)


def has_repetition(text: str) -> bool:
    """Returns whether a word follows itself, or a content word occurs three times."""
    tokens = normal(text).split()
    is_doubled = any(left == right for left, right in pairwise(tokens))
    return is_doubled or max(Counter(content(text)).values(), default=0) > 2


class AnswerRater:
    """Rates the answers of one task.

    Args:
        task: `paraphrase`; `expand`, whose answers must keep the rarest word and the numbers; or
            `fix`, where only a reference is right.
        frequencies: Tell which word of a query is its rarest.
    """

    def __init__(self, task: str, frequencies: Frequencies) -> None:
        self._task, self._frequencies = task, frequencies

    def is_faulty(self, source: str, answer: str, references: Sequence[str]) -> bool:
        """Returns whether an answer copies, loses, invents or repeats something."""
        if self._task == FIX:
            return answer not in references
        is_question = answer.endswith("?")
        if has_repetition(answer) or all(is_question != r.endswith("?") for r in references):
            return True
        if self._task == EXPAND:
            rarest = self._frequencies.rarest(source)
            is_rarest_lost = rarest is not None and rarest not in content(answer)
            return is_rarest_lost or numbers(source) != numbers(answer)
        return find_fault(source, answer) is not None

    def select_best(
        self, source: str, candidates: Sequence[str], references: Sequence[str]
    ) -> str | None:
        """Returns the best candidate without a fault; None if all candidates are faulty.

        Args:
            source: The query.
            candidates: Answers, the most likely first.
            references: Answers that people wrote.
        """
        ratings = {}
        copy_penalty = COPY_PENALTY if self._task == PARAPHRASE else 0.0
        for rank, text in enumerate(dict.fromkeys(candidates)):
            if not self.is_faulty(source, text, references):
                similarity = max(overlap_f1(text, reference) for reference in references)
                penalty = copy_penalty * overlap_f1(text, source)
                ratings[text] = similarity - penalty - RANK_PENALTY * rank
        return max(ratings, key=lambda text: ratings[text], default=None)
