"""Metrics of outputs against references and inputs, by their characters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain

from t5gguf.tasks import Preserved
from t5serve.reformulation.guards.guards import preserves
from t5serve.reformulation.text import clean, fold, plain_words

Figures = dict[str, float | None]


def score_overlap(
    sources: Sequence[str], targets: Sequence[str], outputs: Sequence[str]
) -> tuple[Figures, dict[str, str]]:
    """Returns sacrebleu's corpus BLEU and chrF, 0 to 100, and their signatures.

    Each metric is computed of the outputs against the references, of the outputs against the
    inputs (`self_`), and of the inputs against the references (`input_`), which is the score of
    unchanged inputs.
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


def compute_shares(
    sources: Sequence[str],
    targets: Sequence[str],
    outputs: Sequence[str],
    counts: Mapping[str, int],
    stop_words: Collection[str],
) -> Figures:
    """Returns shares of the outputs, 0 to 1; None if no output can be counted.

    Args:
        sources: The inputs, without a prefix.
        targets: The references.
        outputs: One output per input.
        counts: The count of each folded word in a text. A missing word is the rarest.
        stop_words: Folded words that are not content words.
    """
    rows = list(zip(sources, targets, outputs, strict=True))
    rarest_kept = [
        word in plain_words(output)
        for source, output in zip(sources, outputs, strict=True)
        if (word := find_rarest(source, counts, stop_words)) is not None
    ]
    return {
        "copies": mean(fold(output) == fold(source) for source, _, output in rows),
        "exact": mean(clean(output) == clean(target) for _, target, output in rows),
        "exact_folded": mean(fold(output) == fold(target) for _, target, output in rows),
        "distinct_1": distinct(outputs, 1),
        "distinct_2": distinct(outputs, 2),
        "numbers_kept": preserved_share(sources, outputs, "numbers"),
        "capitalised_kept": preserved_share(sources, outputs, "capitalised"),
        "rarest_kept": mean(rarest_kept),
    }


def distinct(texts: Iterable[str], size: int) -> float | None:
    """Returns distinct n-grams / all n-grams of folded words (distinct-n, Li et al. 2016)."""
    ngrams: list[tuple[str, ...]] = []
    for text in texts:
        words = plain_words(text)
        ngrams += zip(*(words[start:] for start in range(size)), strict=False)
    return len(set(ngrams)) / len(ngrams) if ngrams else None


def preserved_share(
    sources: Sequence[str], outputs: Sequence[str], kind: Preserved
) -> float | None:
    """Returns the share of outputs that keep all words of a kind, where the source has any."""
    return mean(
        preserves(source, output, kind)
        for source, output in zip(sources, outputs, strict=True)
        if not preserves(source, "", kind)
    )


def count_words(texts: Iterable[str]) -> Counter[str]:
    """Counts the folded words of texts."""
    return Counter(chain.from_iterable(map(plain_words, texts)))


def find_rarest(query: str, counts: Mapping[str, int], stop_words: Collection[str]) -> str | None:
    """Returns the first content word with the lowest count; None if there is no content word."""
    content = [word for word in plain_words(query) if word not in stop_words]
    return min(content, key=lambda word: counts.get(word, 0), default=None)


def agreement(left: Sequence[str], right: Sequence[str]) -> float | None:
    """Returns the share of equal texts."""
    return mean(a == b for a, b in zip(left, right, strict=True))


def mean(values: Iterable[float]) -> float | None:
    """Returns the mean; None without values."""
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else None
