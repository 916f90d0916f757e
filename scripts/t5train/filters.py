"""Which pairs teach reformulation, and which would teach copying, forgetting or inventing."""

from __future__ import annotations

from t5train.words import content, names, normal, numbers, similarity, words

MAX_WORDS = 32
TOO_NEAR = 0.85


def fault(source: str, target: str) -> str | None:
    """Why a pair is no paraphrase to learn from, in that direction; None when it is one."""
    have, given = set(normal(target).split()), set(normal(source).split())
    sizes = len(words(source)), len(words(target))
    checks = {
        "length": min(sizes) < 2 or max(sizes) > MAX_WORDS,
        "near-copy": normal(source) == normal(target) or similarity(source, target) > TOO_NEAR,
        "nothing shared": not set(content(source)) & set(content(target)),
        "numbers": numbers(source) != numbers(target),
        "name lost": any(name.casefold() not in have for name in names(source)),
        "name invented": any(name.casefold() not in given for name in names(target)),
        "longer by far": sizes[1] > 2 * sizes[0] + 3,
    }
    return next((reason for reason, is_so in checks.items() if is_so), None)
