"""How outputs compare with references and inputs, by their letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain

from t5serve.reformulation.preserve import ConstraintType, preserves
from t5serve.reformulation.text import clean, fold, plain_words

Figures = dict[str, float | None]


def overlap(
    sources: Sequence[str], targets: Sequence[str], outputs: Sequence[str]
) -> tuple[Figures, dict[str, str]]:
    """Sacrebleu's corpus BLEU and chrF, 0 to 100, and the signatures that tell how.

    Against the references, against the inputs ("self"), and of the inputs against the references:
    what leaving them alone would have scored.
    """
    from sacrebleu.metrics import BLEU, CHRF  # noqa: PLC0415 - of the extra

    figures: Figures = {}
    signatures = {}
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF())):
        for prefix, texts, references in (
            ("", outputs, targets),
            ("self_", outputs, sources),
            ("input_", sources, targets),
        ):
            figures[prefix + name] = metric.corpus_score(list(texts), [list(references)]).score
        signatures[name] = str(metric.get_signature())
    return figures, signatures


def shares(
    sources: Sequence[str],
    targets: Sequence[str],
    outputs: Sequence[str],
    counts: Mapping[str, int],
    stop_words: Collection[str],
) -> Figures:
    """Of the outputs, 0 to 1; None where there is nothing to count.

    Args:
        sources: the inputs, without a prefix.
        targets: the references.
        outputs: one of each.
        counts: how often a folded word stands in some text; what is missing is the rarest.
        stop_words: folded; they are no content.
    """
    rows = list(zip(sources, targets, outputs, strict=True))
    kept = [
        word in plain_words(output)
        for source, output in zip(sources, outputs, strict=True)
        if (word := rarest(source, counts, stop_words)) is not None
    ]
    return {
        "copies": mean(fold(output) == fold(source) for source, _, output in rows),
        "exact": mean(clean(output) == clean(target) for _, target, output in rows),
        "exact_folded": mean(fold(output) == fold(target) for _, target, output in rows),
        "distinct_1": distinct(outputs, 1),
        "distinct_2": distinct(outputs, 2),
        "numbers_kept": preserved(sources, outputs, "numbers"),
        "capitalised_kept": preserved(sources, outputs, "capitalised"),
        "rarest_kept": mean(kept),
    }


def distinct(texts: Iterable[str], size: int) -> float | None:
    """Different n-grams of folded words over all of them (distinct-n, Li et al. 2016)."""
    grams: list[tuple[str, ...]] = []
    for text in texts:
        words = plain_words(text)
        grams += zip(*(words[start:] for start in range(size)), strict=False)
    return len(set(grams)) / len(grams) if grams else None


def preserved(sources: Sequence[str], outputs: Sequence[str], kind: ConstraintType) -> float | None:
    """Of the outputs whose source has some, the share that has them all."""
    return mean(
        preserves(source, output, {kind})
        for source, output in zip(sources, outputs, strict=True)
        if not preserves(source, "", {kind})
    )


def word_counts(texts: Iterable[str]) -> Counter[str]:
    """How often each folded word stands in them."""
    return Counter(chain.from_iterable(map(plain_words, texts)))


def rarest(query: str, counts: Mapping[str, int], stop_words: Collection[str]) -> str | None:
    """The content word with the lowest count, the first of several; None if there is none."""
    content = [word for word in plain_words(query) if word not in stop_words]
    return min(content, key=lambda word: counts.get(word, 0), default=None)


def agreement(one: Sequence[str], other: Sequence[str]) -> float | None:
    """The share of equal texts."""
    return mean(a == b for a, b in zip(one, other, strict=True))


def mean(values: Iterable[float]) -> float | None:
    """None of nothing."""
    found = list(values)
    return sum(found) / len(found) if found else None
