"""Which of a model's own answers to learn from.

After prhegde/t5-query-reformulation-RL: the model's answers are rated and the best are trained on.
What must not happen (a number, a name or the subject lost, a copy, a stutter) rules an answer out;
what is left is rated by how near it is to a reference, how far from the source, and how likely.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from t5train.filters import fault
from t5train.words import Frequencies, content, normal, numbers

PARAPHRASE, FIX, EXPAND = "paraphrase", "fix", "expand"
DISTANCE = 0.25  # weight of a paraphrase's being like its source
RANK = 0.06  # what a rating loses for each candidate that is likelier


def overlap(left: str, right: str) -> float:
    """F1 of the words and the word pairs that two texts share, case and punctuation aside."""
    scores = []
    for size in (1, 2):
        a, b = (_grams(normal(text).split(), size) for text in (left, right))
        total = sum(a.values()) + sum(b.values())
        scores.append(2 * sum((a & b).values()) / total if total else 0.0)
    return sum(scores) / len(scores)


def _grams(tokens: list[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[at : at + size]) for at in range(len(tokens) - size + 1))


def stutters(text: str) -> bool:
    """Whether a word follows itself, or a content word comes three times."""
    tokens = normal(text).split()
    twice = any(left == right for left, right in pairwise(tokens))
    return twice or max(Counter(content(text)).values(), default=0) > 2


class Review:
    """Rates the answers to one task.

    Args:
        task: paraphrase; expand, whose answers must keep the rarest word and the numbers; or fix,
            of which only the reference is right.
        frequencies: that tell which word of a query is its rarest.
    """

    def __init__(self, task: str, frequencies: Frequencies) -> None:
        self._task, self._frequencies = task, frequencies

    def is_faulty(self, source: str, answer: str, references: Sequence[str]) -> bool:
        """Whether an answer must not be learnt: a copy, or something lost, made up, said twice."""
        if self._task == FIX:
            return answer not in references
        if stutters(answer) or all(answer.endswith("?") != r.endswith("?") for r in references):
            return True
        if self._task == EXPAND:
            rarest = self._frequencies.rarest(source)
            lost = rarest is not None and rarest not in content(answer)
            return lost or numbers(source) != numbers(answer)
        return fault(source, answer) is not None

    def best(self, source: str, candidates: Sequence[str], references: Sequence[str]) -> str | None:
        """The best of the candidates that have no fault.

        Args:
            source: that they answer.
            candidates: the likeliest first.
            references: that people wrote.
        """
        rated = {}
        distance = DISTANCE if self._task == PARAPHRASE else 0.0
        for rank, text in enumerate(dict.fromkeys(candidates)):
            if not self.is_faulty(source, text, references):
                near = max(overlap(text, reference) for reference in references)
                rated[text] = near - distance * overlap(text, source) - RANK * rank
        return max(rated, key=lambda text: rated[text], default=None)
