"""Which of several sampled answers to learn from.

After prhegde/t5-query-reformulation-RL: the model's own answers are rated and the best are trained
on. What must not happen (a number, a name or the subject lost, a copy, a stutter) rules an answer
out; what is left is rated by how near it is to a reference and how far from the source.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from t5train.filters import fault
from t5train.words import content, normal

TOO_NEAR = 0.65  # of a source, by shared words
DISTANCE = 0.4  # weight of being unlike the source
LEAST = 0.25  # rating under which nothing is learnt


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


def rate(source: str, candidate: str, references: Sequence[str]) -> float:
    """Between 0 and 1; 0 for what must not be learnt."""
    if fault(source, candidate, too_near=TOO_NEAR) or stutters(candidate):
        return 0.0
    if source.endswith("?") != candidate.endswith("?"):
        return 0.0
    near = max((overlap(candidate, reference) for reference in references), default=0.0)
    return (1 - DISTANCE) * near + DISTANCE * (1 - overlap(candidate, source)) * (near > 0)


def best(
    source: str, candidates: Sequence[str], references: Sequence[str], count: int = 1
) -> list[str]:
    """The highest rated of the candidates, without those that are rated too low."""
    rated = {text: rate(source, text, references) for text in dict.fromkeys(candidates)}
    ranked = sorted(rated, key=lambda text: rated[text], reverse=True)
    return [text for text in ranked[:count] if rated[text] >= LEAST]
