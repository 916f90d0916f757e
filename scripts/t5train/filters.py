"""Filters out pairs that would teach a model to copy, to forget or to invent."""

from __future__ import annotations

from t5train.words import content, names, normal, numbers, similarity, words

MAX_WORDS = 32
MAX_SIMILARITY = 0.85


def find_fault(source: str, target: str) -> str | None:
    """Returns why a pair is no good paraphrase in this direction; None if the pair is good."""
    source_words, target_words = set(normal(source).split()), set(normal(target).split())
    sizes = len(words(source)), len(words(target))
    is_copy = normal(source) == normal(target) or similarity(source, target) > MAX_SIMILARITY
    checks = {
        "length": min(sizes) < 2 or max(sizes) > MAX_WORDS,
        "near-copy": is_copy,
        "nothing shared": not set(content(source)) & set(content(target)),
        "numbers": numbers(source) != numbers(target),
        "name lost": any(name.casefold() not in target_words for name in names(source)),
        "name invented": any(name.casefold() not in source_words for name in names(target)),
        "longer by far": sizes[1] > 2 * sizes[0] + 3,
    }
    return next((reason for reason, has_fault in checks.items() if has_fault), None)
